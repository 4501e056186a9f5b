"""The pictures of a comparison: where it changed, how fast the spectra fall, how far directions agree.

Numbers only, in the units of each picture's SVG view box; the template draws them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from surgery.compare.shared import Changed
from surgery.compare.verdict import Verdict
from surgery.report.numbers import fixed, tiny
from surgery.report.portraits import SHADES

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_TOP = "outside of the layers"


@dataclass(frozen=True)
class Square:
    """One cell: a kind of tensor in one layer. `shade` 0 is the strongest change, None a writer left out."""

    x: float
    y: float
    title: str
    shade: int | None


@dataclass(frozen=True)
class ChangeMap:
    """Layers from left to right, kinds of tensors from top to bottom; shades on a logarithmic scale."""

    width: float
    height: float
    cell: float
    left: float
    squares: tuple[Square, ...]
    kinds: tuple[tuple[float, str], ...]
    layers: tuple[tuple[float, str], ...]
    least: str
    most: str


@dataclass(frozen=True)
class Dot:
    """A point with its title."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Spectra:
    """Singular values of Δ relative to the first, one line a tensor (at most `MOST_LINES`)."""

    width: float
    height: float
    lines: tuple[tuple[str, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Agreement:
    """|cosine| of each writer's own direction with the shared one, above; its strength, below."""

    width: float
    height: float
    agreement: tuple[Dot, ...]
    strength: tuple[Dot, ...]
    ticks: tuple[tuple[float, str], ...]


MOST_LINES = 60


def change_map(changed: Sequence[Changed], left_out: Sequence[str] = ()) -> ChangeMap | None:
    """Relative change by layer and kind of tensor, beside writers that were left out; None where nothing
    changed."""
    if not changed:
        return None
    places = {name: _place(name) for name in (*(each.name for each in changed), *left_out)}
    kinds = sorted(dict.fromkeys(kind for _, kind in places.values()))
    layers = sorted({layer for layer, _ in places.values()})
    cell, left, top = (26.0 if len(layers) <= 32 else max(8.0, 860 / len(layers))), 250.0, 22.0
    values = [each.measured.numbers.relative for each in changed]
    finite = [value for value in values if 0 < value < math.inf] or [1.0]
    low, high = min(finite), max(finite)

    def square(name: str, said: str, shade: int | None) -> Square:
        layer, kind = places[name]
        return Square(
            left + layers.index(layer) * cell, top + kinds.index(kind) * cell, f"{name}: {said}", shade
        )

    squares = [square(name, "left out", None) for name in left_out]
    for each in changed:
        relative = each.measured.numbers.relative
        said = f"relative change {tiny(relative)}, {each.reading.form}"
        squares.append(square(each.name, said, _shade(relative, low, high)))
    step = 1 if len(layers) <= 32 else 5
    return ChangeMap(
        width=left + len(layers) * cell + 2,
        height=top + len(kinds) * cell + 2,
        cell=cell,
        left=left,
        squares=tuple(squares),
        kinds=tuple((top + (i + 0.5) * cell + 4, kind) for i, kind in enumerate(kinds)),
        layers=tuple(
            (left + (i + 0.5) * cell, "–" if layer < 0 else str(layer))
            for i, layer in enumerate(layers)
            if i % step == 0
        ),
        least=tiny(low),
        most=tiny(high),
    )


def spectra(changed: Sequence[Changed]) -> Spectra | None:
    """How fast the singular values of each change fall; None where there are none."""
    shown = [each for each in changed if each.reading.spectrum and each.reading.spectrum[0] > 0]
    if not shown:
        return None
    shown = shown[:: max(1, math.ceil(len(shown) / MOST_LINES))]
    width, height, left, top, bottom = 520.0, 230.0, 44.0, 12.0, 200.0
    count = max(len(each.reading.spectrum) for each in shown)
    step = (width - left - 20) / max(1, count - 1)

    def at(index: int, share: float) -> str:
        decades = min(3.0, -math.log10(max(share, 1e-3)))
        return f"{left + index * step:.1f},{top + (bottom - top) * decades / 3:.1f}"

    lines = tuple(
        (
            " ".join(
                at(i, value / each.reading.spectrum[0]) for i, value in enumerate(each.reading.spectrum)
            ),
            f"{each.name}: stable rank {fixed(each.reading.stable_rank, 1)}",
        )
        for each in shown
    )
    x_ticks = tuple((left + i * step, str(i + 1)) for i in range(count))
    y_ticks = tuple(
        (top + (bottom - top) * i / 3, text) for i, text in enumerate(("1", "0.1", "0.01", "0.001"))
    )
    return Spectra(width, height, lines, x_ticks, y_ticks)


def agreement(verdict: Verdict) -> Agreement | None:
    """Each writer of an ablation beside the direction that all share; None where none is shared."""
    if verdict.shared is None:
        return None
    members = verdict.shared.members
    width, height, left = 520.0, 230.0, 64.0
    step = (width - left - 20) / max(1, len(members) - 1)
    strengths = [verdict.strengths.get(member.tensor, member.strengths)[0] for member in members]
    low, high = min(0.0, *strengths), max(1.0, *strengths)

    def cosine_at(value: float) -> float:
        return round(62 - 50 * min(1.0, value), 1)

    def strength_at(value: float) -> float:
        return round(210 - 110 * (value - low) / (high - low), 1)

    places = [left + i * step for i in range(len(members))]
    return Agreement(
        width,
        height,
        agreement=tuple(
            Dot(x, cosine_at(member.agreement), f"{member.tensor}: agreement {fixed(member.agreement, 4)}")
            for x, member in zip(places, members, strict=True)
        ),
        strength=tuple(
            Dot(x, strength_at(value), f"{member.tensor}: λ {fixed(value)}")
            for x, value, member in zip(places, strengths, members, strict=True)
        ),
        ticks=(
            *((cosine_at(value), f"|cos| {value:g}") for value in (0.0, 1.0)),
            *((strength_at(value), f"λ {fixed(value, 1)}") for value in _apart(low, 0.0, 1.0, high)),
        ),
    )


def _apart(low: float, *others: float) -> list[float]:
    """Values for ticks, none nearer to the one before than their labels are high."""
    found, span = [low], max(others) - low
    for value in sorted(others):
        if value - found[-1] > span / 8:
            found.append(value)
    return found


def _place(name: str) -> tuple[int, str]:
    """Layer (−1 outside of them) and the name without numbers."""
    numbers = _NUMBER.findall(name)
    kind = _NUMBER.sub("*", name)
    return (int(numbers[0]), kind.split("*.", 1)[1]) if numbers else (-1, name)


def _shade(value: float, low: float, high: float) -> int:
    if value <= 0 or high <= low:
        return 0
    share = math.log(high / max(min(value, high), low)) / math.log(high / low)
    return min(SHADES - 1, int(share * SHADES))
