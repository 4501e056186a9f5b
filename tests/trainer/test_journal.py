"""metrics.jsonl after a run that ended badly."""

from pathlib import Path

from trainer.journal import JOURNAL, Progress, append, cut_after, lines


def _append(folder: Path, step: int) -> None:
    append(folder, Progress(step, 9, {"loss": 1.0}, 2.0, 3.0))


def test_lines_after_a_step_are_forgotten(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        _append(tmp_path, step)
    cut_after(tmp_path, 2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_a_line_that_was_cut_short_is_none(tmp_path: Path) -> None:
    _append(tmp_path, 1)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"step": 2, "lo')
    assert [line["step"] for line in lines(tmp_path)] == [1]
    cut_after(tmp_path, 2)
    _append(tmp_path, 2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_where_there_is_nothing_nothing_is_cut(tmp_path: Path) -> None:
    cut_after(tmp_path, 0)
    assert lines(tmp_path) == [] and not (tmp_path / JOURNAL).exists()
