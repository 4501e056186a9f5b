"""The figure of a sweep: one panel a measured number, the axis to the right, other directions as lines.

A band is the 95 % interval. The original direction, a random one, the skyline and the unedited model are
drawn across each panel, so that a point is read beside what could be had without a dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.report.sweep import Measured, Point, Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 3
_PANEL = (4.2, 3.1)
_HEAD = 0.6
"""Inches above the panels, for title and legend."""
_INK, _SOFT, _RULE = "#16191d", "#5b6570", "#dfe3e8"
_MAIN = "#1558c0"
_LINES: dict[str, tuple[str, Any]] = {
    "unedited": ("#5b6570", (0, (1, 2))),
    "random direction": ("#8a5a00", (0, (4, 3))),
    "original direction": ("#14703f", "solid"),
    "skyline": ("#b3261e", (0, (7, 2))),
}
_AXES = {
    "k": "features in the direction, k",
    "strength": "strength",
    "layer": "layer of the direction, not rebuilt",
}


def write_figure(sweep: Sweep, folder: Path) -> tuple[Path, Path]:
    """Write `sweep_<axis>.png` and `.svg` to a folder."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = [label for label in sweep.labels if _has_value(sweep, label)]
    has_cosine = any(point.cosine is not None for point in sweep.points)
    n = len(labels) + has_cosine
    columns = min(_COLUMNS, max(1, n))
    rows = max(1, math.ceil(n / columns))
    figure = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * rows + _HEAD), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    panels = list(axes.flat)
    for panel in panels[n:]:
        panel.set_visible(False)
    if has_cosine:
        _cosine_panel(panels[0], sweep)
    for panel, label in zip(panels[has_cosine:], labels, strict=False):
        _panel(panel, sweep, label)
    height = figure.get_figheight()
    figure.suptitle(sweep.title, color=_INK, fontsize=12, x=0.01, y=1 - 0.1 / height, ha="left", va="top")
    _legend(figure, sweep, 1 - 0.35 / height)
    figure.tight_layout(rect=(0, 0, 1, 1 - _HEAD / height))
    written = (folder / f"sweep_{sweep.axis}.png", folder / f"sweep_{sweep.axis}.svg")
    # The SVG's date and random ids would make equal sweeps differ in their bytes.
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "sweep"}):
        figure.savefig(written[0])
        figure.savefig(written[1], metadata={"Date": None})
    return written


def _panel(panel: Axes, sweep: Sweep, label: str) -> None:
    found = [(point.value, row) for point in sweep.points if (row := _row(point, label)) is not None]
    unit = found[0][1].unit if found else "nats"
    factor = 100.0 if unit == "share" else 1.0
    levels = []
    for line in sweep.lines:
        row = _row(line, label)
        if row is not None and math.isfinite(row.value.value):
            levels.append(factor * row.value.value)
            colour, dashes = _LINES.get(line.name, (_SOFT, "solid"))
            panel.axhline(levels[-1], color=colour, linestyle=dashes, linewidth=1.4)
    found = [each for each in found if math.isfinite(each[1].value.value)]
    x = [float(value) for value, _ in found if value is not None]
    panel.fill_between(
        x,
        [factor * row.value.low for _, row in found],
        [factor * row.value.high for _, row in found],
        color=_MAIN,
        alpha=0.16,
        linewidth=0,
    )
    panel.plot(x, [factor * row.value.value for _, row in found], color=_MAIN, marker="o", markersize=4)
    counts = sorted(
        {min((row.n for _, row in found), default=0), max((row.n for _, row in found), default=0)}
    )
    panel.set_title(
        f"{label}, {'%' if unit == 'share' else unit}   n = {'–'.join(map(str, counts))}", **_title()
    )
    if unit == "share":
        shown = [*levels, *(factor * end for _, row in found for end in (row.value.low, row.value.high))]
        panel.set_ylim(*share_limits(shown))
    _finish(panel, sweep)


def _cosine_panel(panel: Axes, sweep: Sweep) -> None:
    found = [(point.value, point.cosine) for point in sweep.points if point.cosine is not None]
    x = [float(value) for value, _ in found if value is not None]
    panel.plot(x, [cosine for _, cosine in found], color=_MAIN, marker="o", markersize=4)
    panel.set_ylim(min(0.0, *(cosine for _, cosine in found)), 1.02)
    panel.set_title("cosine with the original direction", **_title())
    _finish(panel, sweep)


def share_limits(values: Sequence[float]) -> tuple[float, float]:
    """From 0 to 100 per cent, or the lowest or the highest quarter where everything lies in it."""
    if max(values, default=100.0) <= 25:
        return -1.0, 26.0
    return (74.0, 101.0) if min(values, default=0.0) >= 75 else (-3.0, 103.0)


def _finish(panel: Axes, sweep: Sweep) -> None:
    x = [point.value for point in sweep.points if point.value is not None]
    panel.set_xlabel(_AXES[sweep.axis], color=_SOFT, fontsize=9)
    if sweep.axis != "strength" and len(x) <= 20:
        panel.set_xticks(x)
    margin = 0.04 * (max(x) - min(x)) or 0.5
    panel.set_xlim(min(x) - margin, max(x) + margin)
    panel.grid(axis="y", color=_RULE, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(colors=_SOFT, labelsize=9, length=0)
    for side, spine in panel.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_RULE)


def _legend(figure: Any, sweep: Sweep, top: float) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_MAIN, marker="o", markersize=4, label="rebuilt, 95 % interval")]
    for line in sweep.lines:
        colour, dashes = _LINES.get(line.name, (_SOFT, "solid"))
        handles.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.4, label=line.name))
    if sweep.axis != "k":
        handles[0].set_label(f"by {sweep.axis}, 95 % interval")
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.0, top), ncols=len(handles), frameon=False,
        fontsize=9, labelcolor=_INK,
    )  # fmt: skip


def _title() -> dict[str, Any]:
    return {"loc": "left", "fontsize": 10, "color": _INK}


def _row(point: Point, label: str) -> Measured | None:
    return next((row for row in point.rows if row.label == label), None)


def _has_value(sweep: Sweep, label: str) -> bool:
    return any(
        (row := _row(point, label)) is not None and math.isfinite(row.value.value) for point in sweep.points
    )
