"""`surgery upload`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from surgery.checkpoint.layout import Checkpoint
from surgery.cli import main as door
from surgery.cli.main import cli
from tests.edit.edit_sources import contents, make_source
from tests.hub.hub_server import Hub, Repo, running_hub
from tests.model.family_configs import CONFIGS
from tests.publish.results import make_publishable

NAME = "tester/made"
# The client's own way of sending a large file, which its HTTP library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_source(tmp_path_factory.mktemp("upload") / "base", CONFIGS["llama"], dtype=torch.bfloat16)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub(monkeypatch) as running:
        yield running


@pytest.fixture
def out(source: Checkpoint, tmp_path: Path) -> Path:
    return make_publishable(source, tmp_path / "out")


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["upload", *map(str, arguments)])


def _exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["surgery", "upload", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        door.main()
    return int(stopped.value.code or 0)


def test_it_says_what_stands_where(out: Path, hub: Hub) -> None:
    done = _run(out, NAME)
    assert done.exit_code == 0, done.output
    assert f"{NAME}, private, at commit" in done.output
    assert "every hash on the Hub is the one here" in done.output
    assert "pull request 1 merged" in done.output
    assert done.stderr == ""
    assert "it held all of this already" in _run(out, NAME).output


def test_json_holds_the_same(out: Path, hub: Hub) -> None:
    found = json.loads(_run(out, NAME, "--json").stdout)
    assert (found["name"], found["private"], found["pull_request"]) == (NAME, True, 1)
    assert found["sent_bytes"] == found["n_bytes"] == sum(map(len, contents(out).values()))


def test_a_dry_run_sends_nothing(out: Path, hub: Hub) -> None:
    done = _run(out, NAME, "--dry-run")
    assert done.exit_code == 0
    assert f"{NAME} is made, private" in done.output and "problems    none" in done.output
    found = json.loads(_run(out, NAME, "--dry-run", "--json").stdout)
    assert found["missing"] == sorted(contents(out)) and found["exists"] is False
    assert not hub.repos and not hub.objects


def test_what_is_refused_exits_with_one(
    source: Checkpoint,
    tmp_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = make_publishable(source, tmp_path / "failed", verdict="fail")
    assert _exit_code(monkeypatch, failed, NAME) == 1
    assert "a gate of its recipe failed: refusals (at most 5 %)" in capsys.readouterr().err
    assert _exit_code(monkeypatch, failed, NAME, "--dry-run") == 1
    assert _exit_code(monkeypatch, failed, NAME, "--force") == 0
    assert "forced      a gate of its recipe failed" in capsys.readouterr().out
    hub.repos["tester/known"] = Repo(private=False)
    assert _exit_code(monkeypatch, failed, "tester/known") == 1
    assert _exit_code(monkeypatch, tmp_path / "nowhere", NAME) == 2
