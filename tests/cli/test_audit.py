"""`surgery audit`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from surgery.checkpoint.layout import Checkpoint
from surgery.cli import main as door
from surgery.cli.main import cli
from tests.edit.edit_sources import make_source
from tests.edit.results import make_result
from tests.model.family_configs import CONFIGS


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("audit") / "base"
    return make_source(folder, CONFIGS["llama"], dtype=torch.bfloat16)


@pytest.fixture
def out(source: Checkpoint, tmp_path: Path) -> Path:
    return make_result(source, tmp_path / "out")[1]


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["audit", *map(str, arguments)])


def _exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["surgery", "audit", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        door.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_base_that_the_report_names_is_compared(out: Path) -> None:
    done = _run(out)
    assert done.exit_code == 0, done.output
    assert "listed in SHA256SUMS, all read" in done.output
    assert "every other byte is the base's" in " ".join(done.output.split())
    assert "problems    none" in done.output


def test_a_change_is_shown_and_exits_with_one(out: Path) -> None:
    path = out / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-50] ^= 0x40
    path.write_bytes(data)
    done = _run(out)
    assert done.exit_code == 1
    assert "problems    model.safetensors: its bytes are not those that SHA256SUMS lists" in done.output


def test_json_names_every_edited_tensor(out: Path, source: Checkpoint) -> None:
    done = _run(out, "--json", "--base", source.folder)
    found = json.loads(done.output)
    assert done.exit_code == 0 and found["problems"] == []
    planned = [edit["tensor"] for edit in json.loads((out / "surgery" / "plan.json").read_text())["edits"]]
    assert [row["tensor"] for row in found["audit"]["tensors"]] == planned


def test_without_a_base_sums_and_headers_are_checked(out: Path) -> None:
    done = _run(out, "--no-base")
    assert done.exit_code == 0 and "not compared with a base" in done.output


def test_trouble_exits_with_two(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code(monkeypatch, tmp_path / "nowhere") == 2
    assert _exit_code(monkeypatch, "org/published") == 2
    assert "`hf download org/published --local-dir FOLDER`" in " ".join(capsys.readouterr().err.split())
    assert _exit_code(monkeypatch, out, "--base", tmp_path / "nowhere") == 2
    assert _exit_code(monkeypatch, out, "--base", "x", "--no-base") == 2
    gone = tmp_path / "moved"
    shutil.copytree(out, gone)
    report = {"model": {"source": str(tmp_path / "nowhere"), "commit": None}}
    (gone / "surgery" / "report.json").write_text(json.dumps(report))
    capsys.readouterr()
    assert _exit_code(monkeypatch, gone) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "give it by --base, or --no-base" in said


def test_an_adapter_has_sums_only(tmp_path: Path) -> None:
    from surgery.checkpoint.sums import write_sums

    (tmp_path / "surgery").mkdir()
    (tmp_path / "adapter_config.json").write_text("{}")
    write_sums(tmp_path)
    done = _run(tmp_path)
    assert done.exit_code == 0 and "`surgery reproduce` writes it again" in " ".join(done.output.split())
    (tmp_path / "adapter_config.json").write_text("{ }")
    assert _run(tmp_path).exit_code == 1
