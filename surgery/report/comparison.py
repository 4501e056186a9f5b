"""The picture on top of the page: base beside edited for every suite, with intervals.

Numbers only; the template draws them. Positions are per cent of the axis, so that the picture can be as wide
as the screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from surgery.report.numbers import level
from surgery.verify.rows import Row
from surgery.verify.statistics import Estimate

_NOTHING = 1e-9
"""A mean in nats below this is zero in any picture."""


@dataclass(frozen=True)
class Mark:
    """A value and the ends of its interval, in per cent of the axis; `text` says it in words."""

    low: float
    value: float
    high: float
    text: str


@dataclass(frozen=True)
class Bar:
    """One row of the picture on top: a suite, or a control of it."""

    row: Row
    control: bool
    base: Mark | None
    edited: Mark | None


@dataclass(frozen=True)
class Axis:
    """The rows that share a unit, and the ticks below them as (position in per cent, text)."""

    unit: str
    ticks: tuple[tuple[float, str], ...]
    bars: tuple[Bar, ...]


def axes(rows: Sequence[Row], controls: Sequence[Row]) -> tuple[Axis, ...]:
    """An axis for all shares and one for each suite in nats; controls stand under the rows of their suite."""
    ordered = _with_controls(_measured(rows), controls)
    groups: dict[str, list[tuple[Row, bool]]] = {"": []}  # the shares come first
    for row, control in ordered:
        groups.setdefault("" if row.unit == "share" else row.suite, []).append((row, control))
    return tuple(_axis(group) for group in groups.values() if group)


def _measured(rows: Sequence[Row]) -> list[Row]:
    """Rows with something to draw, without those that only repeat a number for a further gate."""
    kept: list[Row] = []
    for row in rows:
        repeats = row.base is None and any(
            (each.suite, each.edited) == (row.suite, row.edited) for each in kept
        )
        if not repeats and (row.base or row.edited):
            kept.append(row)
    return kept


def _axis(group: Sequence[tuple[Row, bool]]) -> Axis:
    unit = group[0][0].unit
    low, high, ticks = _scale(unit, [row for row, _ in group])
    return Axis(unit, ticks, tuple(_bar(row, control, low, high) for row, control in group))


def _with_controls(rows: Sequence[Row], controls: Sequence[Row]) -> list[tuple[Row, bool]]:
    """Every row, each control under the first row of its suite and unit, the rest at the end."""
    ordered: list[tuple[Row, bool]] = []
    left = list(controls)
    for row in rows:
        ordered.append((row, False))
        ordered += [(each, True) for each in left if (each.suite, each.unit) == (row.suite, row.unit)]
        left = [each for each in left if (each.suite, each.unit) != (row.suite, row.unit)]
    return ordered + [(each, True) for each in left]


def _scale(unit: str, rows: Sequence[Row]) -> tuple[float, float, tuple[tuple[float, str], ...]]:
    if unit == "share":
        return 0.0, 1.0, tuple((100 * tick, f"{100 * tick:.0f} %") for tick in (0.0, 0.25, 0.5, 0.75, 1.0))
    ends = [end for row in rows for side in (row.base, row.edited) if side for end in (side.value, side.high)]
    highest = max([end for end in ends if math.isfinite(end)], default=0.0)
    top = _round_up(highest) if highest > _NOTHING else 1.0
    return 0.0, top, tuple((25.0 * quarter, f"{top * quarter / 4:.3g}") for quarter in range(5))


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 8 times a power of ten: numbers whose quarters are short."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value * 0.9999)


def _bar(row: Row, control: bool, low: float, high: float) -> Bar:
    return Bar(
        row,
        control,
        _mark(row.base, row.unit, low, high),
        _mark(row.edited, row.unit, low, high),
    )


def _mark(estimate: Estimate | None, unit: str, low: float, high: float) -> Mark | None:
    if estimate is None or not math.isfinite(estimate.value):
        return None

    def place(value: float) -> float:
        value = value if math.isfinite(value) else high
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    ends = f"{level(estimate.low, unit)} to {level(estimate.high, unit)}"
    text = f"{level(estimate.value, unit)}, 95 % interval {ends}"
    return Mark(place(estimate.low), place(estimate.value), place(estimate.high), text)
