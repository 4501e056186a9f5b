"""The two pictures of a direction: which candidate was chosen, and how well few features rebuild it.

Numbers only, in the units of each picture's SVG view box; the template draws them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from surgery.direction.reconstruction import Reconstruction
from surgery.direction.selection import Candidate, Selection
from surgery.report.numbers import MINUS, NOTHING, fixed, tiny

SHADES = 7
"""Steps of the heat map's scale; the style sheet has a class for each."""

Place = Callable[[int, float], tuple[float, float]]


@dataclass(frozen=True)
class Cell:
    """One candidate of the heat map; `shade` counts from 0 (best bypass), None where it was rejected."""

    x: float
    y: float
    text: str
    title: str
    shade: int | None
    chosen: bool


@dataclass(frozen=True)
class HeatMap:
    """Candidates: layers from left to right, positions from top to bottom."""

    width: float
    height: float
    cell_width: float
    cell_height: float
    cells: tuple[Cell, ...]
    layers: tuple[tuple[float, str], ...]
    positions: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Line:
    """A curve over k: `points` and `band` are SVG point lists, `dots` the marks as (x, y, text)."""

    name: str
    label: str
    label_y: float
    points: str
    band: str
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class CurvePicture:
    """Cosine over the number of features, the direction beside chance."""

    width: float
    height: float
    left: float
    right: float
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    chosen: tuple[float, float]


def heat_map(selection: Selection) -> HeatMap:
    """Bypass score over layer and position; the lower, the better."""
    layers = sorted({each.layer for each in selection.candidates})
    positions = sorted({each.position for each in selection.candidates})
    roomy = len(layers) <= 14
    cell_width, cell_height, left, top = (
        (56.0, 30.0, 44.0, 22.0)
        if roomy
        else (max(10.0, min(24.0, round(860 / len(layers), 1))), 24.0, 44.0, 22.0)
    )
    scores = [
        each.bypass for each in selection.candidates if each.rejected is None and each.bypass is not None
    ]
    best, worst = (min(scores), max(scores)) if scores else (0.0, 0.0)
    cells = tuple(
        _cell(
            each,
            (
                left + layers.index(each.layer) * cell_width,
                top + positions.index(each.position) * cell_height,
            ),
            (best, worst),
            roomy=roomy,
            chosen=each == selection.chosen,
        )
        for each in selection.candidates
    )
    step = 1 if roomy else 5
    return HeatMap(
        width=left + len(layers) * cell_width + 2,
        height=top + len(positions) * cell_height + 2,
        cell_width=cell_width,
        cell_height=cell_height,
        cells=cells,
        layers=tuple(
            (left + (index + 0.5) * cell_width, str(layer))
            for index, layer in enumerate(layers)
            if layer % step == 0
        ),
        positions=tuple(
            (top + (index + 0.5) * cell_height, str(position).replace("-", MINUS))
            for index, position in enumerate(positions)
        ),
    )


def curve(reconstruction: Reconstruction) -> CurvePicture:
    """Cosine of the rebuilt direction for k = 1, 2, …, beside random features and random directions."""
    points = reconstruction.curve
    width, height, left, right, top, bottom = 520.0, 250.0, 38.0, 400.0, 12.0, 222.0
    ks = [point.k for point in points]
    # A chosen k beyond the curve stands one step right of it: the axis is the list of sizes, not a line of
    # numbers.
    step = (right - left) / max(1, len(ks) - 1)

    def at(index: int, cosine: float) -> tuple[float, float]:
        return round(left + index * step, 1), round(bottom - (bottom - top) * min(1.0, max(0.0, cosine)), 1)

    series = {
        "this direction": [(point.cosine, 0.0) for point in points],
        reconstruction.chance: [point.random_direction for point in points],
        "random features": [point.random_features for point in points],
    }
    ends = _apart([at(len(ks) - 1, values[-1][0])[1] for values in series.values()], 15.0)
    lines = tuple(
        _line(name, values, ks, at, end) for (name, values), end in zip(series.items(), ends, strict=True)
    )
    chosen = next(index for index, point in enumerate(points) if point.k == reconstruction.k)
    return CurvePicture(
        width,
        height,
        left,
        right,
        lines,
        x_ticks=tuple((at(index, 0)[0], str(k)) for index, k in enumerate(ks)),
        y_ticks=tuple((at(0, value)[1], f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0)),
        chosen=at(chosen, points[chosen].cosine),
    )


def _cell(
    candidate: Candidate,
    corner: tuple[float, float],
    scale: tuple[float, float],
    *,
    roomy: bool,
    chosen: bool,
) -> Cell:
    best, worst = scale
    shade = None
    if candidate.rejected is None and candidate.bypass is not None:
        share = (candidate.bypass - best) / (worst - best) if worst > best else 0.0
        shade = min(SHADES - 1, int(share * SHADES))
    text = fixed(candidate.bypass, 1) if shade is not None else _reason(candidate)
    known = [
        f"{name} {value}"
        for name, value in (
            ("bypass", fixed(candidate.bypass, 2)),
            ("induce", fixed(candidate.induce, 2)),
            ("KL", tiny(candidate.kl)),
        )
        if value != NOTHING
    ]
    facts = [f"layer {candidate.layer}, position {candidate.position}".replace("-", MINUS), *known]
    if candidate.rejected:
        facts.append(f"rejected: {candidate.rejected}")
    return Cell(*corner, text if roomy else "", ", ".join(facts), shade, chosen)


def _reason(candidate: Candidate) -> str:
    """Which test a candidate failed, short enough for its cell."""
    if candidate.induce is not None:
        return "induce"
    return "KL" if candidate.kl is not None else "layer" if "layer" in (candidate.rejected or "") else "zero"


def _line(
    name: str, values: Sequence[tuple[float, float]], ks: Sequence[int], at: Place, label_y: float
) -> Line:
    middle = [at(index, mean) for index, (mean, _) in enumerate(values)]
    upper = [at(index, mean + spread) for index, (mean, spread) in enumerate(values)]
    lower = [at(index, mean - spread) for index, (mean, spread) in enumerate(values)]
    spreads = any(spread for _, spread in values)
    return Line(
        name="random-direction" if name == "random split" else name.replace(" ", "-"),
        label=name,
        label_y=label_y,
        points=_svg(middle),
        band=_svg(upper + lower[::-1]) if spreads else "",
        dots=tuple(
            (x, y, f"k = {k}: cosine {fixed(mean)}" + (f" ± {fixed(spread)}" if spreads else ""))
            for (x, y), k, (mean, spread) in zip(middle, ks, values, strict=True)
        ),
    )


def _svg(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _apart(heights: Sequence[float], gap: float) -> list[float]:
    """The same heights, moved down where two labels would touch; the order is kept."""
    placed = dict.fromkeys(range(len(heights)), 0.0)
    previous = -math.inf
    for index in sorted(placed, key=lambda each: heights[each]):
        previous = max(heights[index], previous + gap)
        placed[index] = previous
    return [placed[index] for index in range(len(heights))]
