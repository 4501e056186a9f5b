"""`surgery demo build`: all of it under the folder's name, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from surgery.cli.main import cli
from surgery.demo import build
from surgery.errors import OutputError


def test_what_is_built_appears_under_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: Path, *, seed: int, progress: Any) -> None:
        progress("training")
        (folder / "quality.json").write_text(str(seed))

    monkeypatch.setattr(build, "build", write)
    ended = CliRunner().invoke(cli, ["demo", "build", str(tmp_path / "made"), "--seed", "7"])
    assert ended.exit_code == 0 and "training" in ended.stderr and "written" in ended.stdout
    assert (tmp_path / "made/quality.json").read_text() == "7"


def test_a_folder_that_stands_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "build", lambda *_, **__: pytest.fail("it trained"))
    ended = CliRunner().invoke(cli, ["demo", "build", str(tmp_path)])
    assert isinstance(ended.exception, OutputError) and str(tmp_path) in str(ended.exception)


def test_a_build_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(folder: Path, **_: Any) -> None:
        (folder / "quality.json").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "build", stop)
    assert CliRunner().invoke(cli, ["demo", "build", str(tmp_path / "made")]).exit_code == 1
    assert list(tmp_path.iterdir()) == []
