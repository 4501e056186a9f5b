"""The results of a sweep: one point a line of JSON, each known by the content it was measured from.

`points.jsonl` keeps every point that was ever measured in its folder, once, whatever axis asked for it;
`sweep_<axis>.jsonl` is what one sweep shows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal

from surgery.errors import OutputError
from surgery.verify.rows import Row
from surgery.verify.statistics import Estimate, share

Axis = Literal["k", "strength", "layer"]
POINTS = "points.jsonl"
_BROKEN = "degenerate"


@dataclass(frozen=True)
class Measured:
    """One measured number of one point."""

    label: str
    unit: str
    n: int
    value: Estimate


@dataclass(frozen=True)
class Point:
    """One setting, or one line to compare with. `value` is None of the latter, and `name` says what it is."""

    key: str
    name: str
    value: float | None
    cosine: float | None
    """With the direction that is being rebuilt; None where there are several."""
    directions: Mapping[str, Any]
    rows: tuple[Measured, ...]


@dataclass(frozen=True)
class Sweep:
    """All points of one axis, the lines beside them, and why values were left out."""

    title: str
    axis: Axis
    points: tuple[Point, ...]
    lines: tuple[Point, ...]
    left_out: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """What was measured, in order; what only some points have follows what it follows there."""
        ordered: list[str] = []
        for point in (*self.lines, *self.points):
            at = 0
            for row in point.rows:
                if row.label not in ordered:
                    ordered.insert(at, row.label)
                at = ordered.index(row.label) + 1
        return tuple(ordered)


def measured_rows(rows: tuple[Row, ...]) -> tuple[Measured, ...]:
    """The edited side of each row that has one."""
    return tuple(Measured(row.label, row.unit, row.n, row.edited) for row in rows if row.edited is not None)


def with_every_row(points: Sequence[Point]) -> list[Point]:
    """The points, each with a row of broken replies where any has one: they are counted where they occur."""
    labels = {row.label for point in points for row in point.rows if row.label.startswith(_BROKEN)}
    return [replace(point, rows=(*point.rows, *_missing(point, labels))) for point in points]


def _missing(point: Point, labels: Iterable[str]) -> list[Measured]:
    held = {row.label: row for row in point.rows}
    refusals = {
        label: held.get(label.replace(_BROKEN, "refusal", 1)) for label in labels if label not in held
    }
    return [
        Measured(label, "share", row.n, share(0, row.n))
        for label, row in sorted(refusals.items())
        if row is not None
    ]


def append_point(folder: Path, point: Point) -> None:
    """Add a point to the folder's file, so that it is there whatever happens next.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with (folder / POINTS).open("a+b") as file:
            # The line that a killed run was writing has no end; what follows must not become part of it.
            start = b"" if _ends_a_line(file) else b"\n"
            file.write(start + json.dumps(asdict(point)).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OutputError(
            f"{folder / POINTS}: cannot be written ({error.strerror}); name another --out"
        ) from error


def write_sweep(sweep: Sweep, folder: Path) -> Path:
    """Write the lines and points of one sweep, in order and under its names, to `sweep_<axis>.jsonl`.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / f"sweep_{sweep.axis}.jsonl"
    text = "".join(f"{json.dumps(asdict(point))}\n" for point in (*sweep.lines, *sweep.points))
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); name another --out") from error
    return path


def read_points(folder: Path) -> dict[str, Point]:
    """The points that an earlier run left, by their keys; a line that was cut off is no point."""
    path = folder / POINTS
    found: dict[str, Point] = {}
    if not path.is_file():
        return found
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            point = _from_json(json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
        found[point.key] = point
    return found


def _ends_a_line(file: IO[bytes]) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _from_json(held: Mapping[str, Any]) -> Point:
    rows = tuple(Measured(**{**row, "value": Estimate(**row["value"])}) for row in held["rows"])
    return Point(**{**held, "rows": rows})
