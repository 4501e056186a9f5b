"""Staging folders that outlive their process: kept after an interrupt, resumed only by the same work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from surgery.checkpoint.folder import publish
from surgery.checkpoint.journal import Journal, create_journal, open_journal
from surgery.checkpoint.staging import Staging, check_startable, resumable_folder, unfinished
from surgery.errors import OutputError

WORK = {"plan": "p", "source": {"a": "1"}}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _write_half(staging: Staging, error: type[BaseException]) -> None:
    (staging.folder / "half").write_text("half")
    staging.journal.add(file="half", start=0, end=4)
    raise error


def _stopped(
    target: Path, identity: Any = WORK, error: type[BaseException] = KeyboardInterrupt
) -> BaseException:
    """Begin a result, write half of it, and stop by an exception."""
    with (
        pytest.raises(error) as raised,
        resumable_folder(target, needed_bytes=9, identity=identity) as staging,
    ):
        _write_half(staging, error)
    return raised.value


def test_appears_whole_and_leaves_no_journal(tmp_path: Path) -> None:
    with resumable_folder(tmp_path / "a" / "out", needed_bytes=9, identity=WORK) as staging:
        (staging.folder / "file").write_text("content")
        assert _names(tmp_path / "a") == [".out.unfinished", ".out.unfinished.jsonl"]
    assert _names(tmp_path / "a") == ["out"] and _names(tmp_path / "a" / "out") == ["file"]


def test_all_is_on_the_disk_before_the_name_appears_and_the_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename may reach the disk before the bytes behind it; after a power cut the result would be zeros."""
    flushed: set[tuple[str, bool]] = set()
    sync, target = os.fsync, tmp_path / "out"

    def note(descriptor: int) -> None:
        status = os.fstat(descriptor)
        known = {(each.stat().st_dev, each.stat().st_ino): each for each in (tmp_path, *tmp_path.rglob("*"))}
        flushed.add((known[status.st_dev, status.st_ino].name, target.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with resumable_folder(target, needed_bytes=9, identity=WORK) as staging:
        (staging.folder / "sub").mkdir()
        for name in ("file", "sub/other"):
            (staging.folder / name).write_text("content")
    assert {(name, False) for name in ("file", "other", "sub", ".out.unfinished")} <= flushed
    assert (tmp_path.name, True) in flushed


@pytest.mark.parametrize("error", [ValueError, OSError, SystemExit])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    _stopped(tmp_path / "new" / "out", error=error)
    assert _names(tmp_path) == []


def test_an_interrupt_behind_the_renaming_leaves_the_result_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*places: Path) -> NoReturn:
        publish(*places)
        raise KeyboardInterrupt

    monkeypatch.setattr("surgery.checkpoint.staging.publish", press)
    with (
        pytest.raises(KeyboardInterrupt) as raised,
        resumable_folder(tmp_path / "out", needed_bytes=9, identity=WORK),
    ):
        pass
    assert _names(tmp_path) == ["out"] and not getattr(raised.value, "__notes__", None)


def test_an_interrupt_keeps_the_work_and_says_how_to_go_on(tmp_path: Path) -> None:
    error = _stopped(tmp_path / "out")
    assert _names(tmp_path) == [".out.unfinished", ".out.unfinished.jsonl"]
    assert ".out.unfinished" in error.__notes__[0] and "--resume goes on" in error.__notes__[0]
    with resumable_folder(tmp_path / "out", needed_bytes=9, identity=WORK, resume=True) as staging:
        assert (staging.folder / "half").read_text() == "half"
        assert [dict(each) for each in staging.journal.entries] == [{"file": "half", "start": 0, "end": 4}]
    assert _names(tmp_path) == ["out"]


def test_without_resume_an_unfinished_result_is_refused_and_kept(tmp_path: Path) -> None:
    _stopped(tmp_path / "out")
    for start in (check_startable, _stopped):
        with pytest.raises(OutputError, match="go on with it by --resume, or remove that folder"):
            start(tmp_path / "out")
    assert (unfinished(tmp_path / "out") / "half").exists()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"plan": "q", "source": {"a": "1"}}, "another plan"),
        ({"plan": "p", "source": {"a": "2"}}, "another source"),
        ({"plan": "p", "source": {"a": "1"}, "torch": "9"}, "another torch"),
    ],
)
def test_other_work_is_refused_and_what_stands_is_kept(tmp_path: Path, other: Any, said: str) -> None:
    _stopped(tmp_path / "out")
    with (
        pytest.raises(OutputError, match=f"begun with {said}; going on would mix two results"),
        resumable_folder(tmp_path / "out", needed_bytes=9, identity=other, resume=True),
    ):
        raise AssertionError("the block must not run")
    assert (unfinished(tmp_path / "out") / "half").read_text() == "half"


def test_nothing_to_resume_is_a_beginning(tmp_path: Path) -> None:
    with resumable_folder(tmp_path / "out", needed_bytes=9, identity=WORK, resume=True) as staging:
        assert staging.journal.entries == ()
    assert _names(tmp_path) == ["out"]


@pytest.mark.parametrize("left", [b"", b'{"plan": "p"', b"\n"])
def test_a_journal_that_broke_off_in_its_first_line_is_a_beginning(tmp_path: Path, left: bytes) -> None:
    (tmp_path / ".out.unfinished.jsonl").write_bytes(left)
    with resumable_folder(tmp_path / "out", needed_bytes=9, identity=WORK, resume=True) as staging:
        assert staging.journal.entries == ()
    assert _names(tmp_path) == ["out"]


def test_files_without_a_journal_are_not_gone_on_with(tmp_path: Path) -> None:
    _stopped(tmp_path / "out")
    (tmp_path / ".out.unfinished.jsonl").unlink()
    with (
        pytest.raises(OutputError, match="has no journal"),
        resumable_folder(tmp_path / "out", needed_bytes=9, identity=WORK, resume=True),
    ):
        raise AssertionError("the block must not run")
    assert (unfinished(tmp_path / "out") / "half").exists()


def test_two_runs_do_not_write_one_result(tmp_path: Path) -> None:
    with resumable_folder(tmp_path / "out", needed_bytes=9, identity=WORK) as staging:
        (staging.folder / "mine").touch()
        with (
            pytest.raises(OutputError, match="another run is writing this result"),
            resumable_folder(tmp_path / "out", needed_bytes=9, identity=WORK, resume=True),
        ):
            raise AssertionError("the block must not run")
        assert (staging.folder / "mine").exists()
    assert _names(tmp_path) == ["out"]


def _reopened(path: Path) -> Journal:
    journal = open_journal(path)
    assert journal is not None
    return journal


def test_a_journal_keeps_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = create_journal(path, {"work": 1})
    journal.add(file="a \u00fc\n")
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"file":"torn')
    journal = _reopened(path)
    assert journal.identity == {"work": 1} and list(journal.entries) == [{"file": "a \u00fc\n"}]
    journal.add(file="b")
    journal.close()
    journal = _reopened(path)
    assert [entry["file"] for entry in journal.entries] == ["a \u00fc\n", "b"]
    journal.close()


def test_a_missing_journal_is_none(tmp_path: Path) -> None:
    assert open_journal(tmp_path / "nowhere") is None
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_name_that_no_system_takes_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        check_startable(tmp_path / ("x" * 250))
