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
    title = f"{one_line(found.title)} · value [95 % interval]"
    lines = section("sweep", [Text(each) for each in wrapped(title, body)])
    for start in range(0, max(1, len(found.labels)), room):
        labels = found.labels[start : start + room]
        head = (
            " " * _NAME
            + f"{'cosine':>8}"
            + "".join(f"{shortened(label, _COLUMN - 2):>{_COLUMN}}" for label in labels)
        )
        points = (*found.lines, *found.points)
        under = " " * (_NAME + 8) + "".join(f"{_units(points, label):>{_COLUMN}}" for label in labels)
        lines += section("", [Text(head), Text(under), *(_row(point, labels) for point in points)])
    if found.left_out:
        reasons = [line for each in found.left_out for line in wrapped(one_line(each), body, indent="  ")]
        lines += section("left out", [Text(each) for each in reasons])
    return lines + section("files", [Text(str(path)) for path in files])


def _units(points: Sequence[Point], label: str) -> str:
    """`nats, n = 300` under a label; n as a range where it differs."""
    rows = [row for point in points for row in point.rows if row.label == label]
    least, most = min(row.n for row in rows), max(row.n for row in rows)
    n = f"n = {least}" if least == most else f"n = {least}–{most}"
    return n if rows[0].unit == "share" else f"{rows[0].unit}, {n}"


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
