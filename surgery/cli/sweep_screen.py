"""The screen of a sweep: one row a setting, one column a measured number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from surgery.cli.layout import HEADING, WIDEST, section, wrapped
from surgery.report.numbers import NOTHING, fixed, level
from surgery.report.sweep import Measured, Point, Sweep
from surgery.report.text import one_line, shortened

_NAME = 20
_COLUMN = 22


def sweep_lines(found: Sweep, files: Sequence[Path], width: int) -> list[Text]:
    """A table of the lines to compare with, then of the points."""
    body = min(width, WIDEST) - HEADING
    room = max(1, (body - _NAME - 8) // _COLUMN)
    lines = section("sweep", [Text(each) for each in wrapped(one_line(found.title), body)])
    for start in range(0, max(1, len(found.labels)), room):
        labels = found.labels[start : start + room]
        head = (
            " " * _NAME
            + f"{'cosine':>8}"
            + "".join(f"{shortened(label, _COLUMN - 2):>{_COLUMN}}" for label in labels)
        )
        rows = [Text(head), *(_row(point, labels) for point in (*found.lines, *found.points))]
        lines += section("", rows)
    return lines + section("files", [Text(str(path)) for path in files])


def _row(point: Point, labels: Sequence[str]) -> Text:
    held = {row.label: row for row in point.rows}
    cosine = NOTHING if point.cosine is None else fixed(point.cosine)
    cells = "".join(f"{_cell(held.get(label)):>{_COLUMN}}" for label in labels)
    return Text(f"{point.name:<{_NAME}}{cosine:>8}{cells}")


def _cell(row: Measured | None) -> str:
    """`41.7 [36.2, 47.3]`: the value and its 95 % interval."""
    if row is None:
        return NOTHING
    value, low, high = (level(each, row.unit) for each in (row.value.value, row.value.low, row.value.high))
    return f"{value} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"
