"""The screen of a sweep: a row for each setting, a column for each number, as many in a row as fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from surgery.cli.layout import HEADING, WIDEST, section, wrapped
from surgery.report.numbers import NOTHING, fixed, level
from surgery.report.sweep import Measured, Point, Sweep
from surgery.report.text import one_line, shortened

_LABEL = 20
_COSINE = 8
_GAP = 2
_TAKEN = {
    "k": "cosine with the original direction",
    "strength": "cosine with the original direction",
    "layer": "each layer's own direction, not rebuilt, and its cosine with the original one",
}


@dataclass(frozen=True)
class _Column:
    """A measured number: its label, unit and n, and a cell for each point; all of one width."""

    label: str
    under: str
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        return _GAP + max(map(len, (self.label, self.under, *self.cells)))


def sweep_lines(found: Sweep, files: Sequence[Path], width: int) -> list[Text]:
    """A table of the lines to compare with, then of the points."""
    body = min(width, WIDEST) - HEADING
    title = f"{one_line(found.title)} · value [95 % interval] · {_TAKEN[found.axis]}"
    lines = section("sweep", [Text(each) for each in wrapped(title, body, indent="  ")])
    points = (*found.lines, *found.points)
    name = max(len(point.name) for point in points)
    cosines = [NOTHING if point.cosine is None else fixed(point.cosine) for point in points]
    for columns in _side_by_side([_column(points, label) for label in found.labels], body - name - _COSINE):
        rows = [
            " " * name + "cosine".rjust(_COSINE) + _cells([column.label for column in columns], columns),
            " " * (name + _COSINE) + _cells([column.under for column in columns], columns),
        ]
        for index, point in enumerate(points):
            numbers = _cells([column.cells[index] for column in columns], columns)
            rows.append(point.name.ljust(name) + cosines[index].rjust(_COSINE) + numbers)
        lines += section("", [Text(row.rstrip()) for row in rows])
    if found.left_out:
        reasons = [line for each in found.left_out for line in wrapped(one_line(each), body, indent="  ")]
        lines += section("left out", [Text(each) for each in reasons])
    return lines + section("files", [Text(str(path)) for path in files])


def _side_by_side(columns: Sequence[_Column], room: int) -> Iterator[list[_Column]]:
    """Columns in groups that fit beside each other; at least one in each."""
    group: list[_Column] = []
    for column in columns:
        if group and sum(each.width for each in (*group, column)) > room:
            yield group
            group = []
        group.append(column)
    yield group


def _cells(texts: Sequence[str], columns: Sequence[_Column]) -> str:
    return "".join(text.rjust(column.width) for text, column in zip(texts, columns, strict=True))


def _column(points: Sequence[Point], label: str) -> _Column:
    held = [next((row for row in point.rows if row.label == label), None) for point in points]
    rows = [row for row in held if row is not None]
    least, most = min(row.n for row in rows), max(row.n for row in rows)
    n = f"n = {least}" if least == most else f"n = {least}–{most}"
    unit = "%" if rows[0].unit == "share" else rows[0].unit
    return _Column(shortened(label, _LABEL), f"{unit}, {n}", tuple(map(_cell, held)))


def _cell(row: Measured | None) -> str:
    """`41.7 [36.2, 47.3]`: the value and its 95 % interval, in the unit that stands above."""
    if row is None:
        return NOTHING
    value, low, high = (
        level(each, row.unit).removesuffix(" %") for each in (row.value.value, row.value.low, row.value.high)
    )
    return f"{value} [{low}, {high}]"
