"""The page of a dictionary's features: what the direction is made of, and what each part responds to.

Like the report it is one file that asks nothing of the network; tokens are shaded by classes of the style
sheet, since the page's content policy lets no text bring a style of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from markupsafe import Markup

from surgery.report.page import TEMPLATES, content_policy, environment
from surgery.report.text import visible
from surgery.verify.portraits import Excerpt, Portrait

SHADES = 8
_PLOT = (260.0, 64.0)
_BAR_SCALE = 46.0
"""Per cent of the width that the largest coefficient takes on its side."""


@dataclass(frozen=True)
class Shaded:
    """A token of an excerpt; `shade` is 0 where the feature is silent, up to `SHADES`."""

    text: str
    shade: int
    title: str


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram, in units of its view box."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Part:
    """One feature as the page shows it; coefficient and cosine are None without a direction."""

    portrait: Portrait
    coefficient: float | None
    cosine: float | None
    excerpts: tuple[tuple[Shaded, ...], ...]
    bars: tuple[Bar, ...]
    bar_x: float
    bar_width: float


@dataclass(frozen=True)
class FeaturesReport:
    """All that the page says. `summary` are short facts about the code, `agreement` what others choose."""

    dictionary: str
    about: str
    model: str
    tokens: int
    texts: str
    direction: str | None
    summary: tuple[str, ...]
    agreement: tuple[str, ...]
    portraits: tuple[Portrait, ...]
    coefficients: tuple[float, ...] | None = None
    cosines: tuple[float, ...] | None = None


def render_features_page(report: FeaturesReport) -> str:
    """The whole page as HTML."""
    style, script = _assets("report.css", "features.css"), _assets("search.js")
    return (
        environment()
        .get_template("features.html.j2")
        .render(
            report=report,
            parts=feature_parts(report),
            plot=_PLOT,
            style=Markup(style),
            script=Markup(script),
            policy=content_policy(style, script),
        )
    )


def feature_parts(report: FeaturesReport) -> tuple[Part, ...]:
    """The features, shaded and drawn."""
    largest = max((abs(each) for each in report.coefficients or ()), default=1.0) or 1.0
    parts = []
    for index, portrait in enumerate(report.portraits):
        coefficient = None if report.coefficients is None else report.coefficients[index]
        width = 0.0 if coefficient is None else abs(coefficient) / largest * _BAR_SCALE
        parts.append(
            Part(
                portrait=portrait,
                coefficient=coefficient,
                cosine=None if report.cosines is None else report.cosines[index],
                excerpts=tuple(shaded(each, portrait.maximum) for each in portrait.excerpts),
                bars=histogram(portrait.histogram, portrait.maximum),
                bar_x=round(50.0 if (coefficient or 0.0) >= 0 else 50.0 - width, 2),
                bar_width=round(width, 2),
            )
        )
    return tuple(parts)


def shaded(excerpt: Excerpt, maximum: float) -> tuple[Shaded, ...]:
    """An excerpt's tokens with the strength of each as a shade of 0 to `SHADES`."""
    tokens = []
    for text, value in zip(excerpt.tokens, excerpt.activations, strict=True):
        shade = 0 if value <= 0 or maximum <= 0 else max(1, math.ceil(SHADES * value / maximum - 1e-9))
        tokens.append(Shaded(_token(text), min(shade, SHADES), f"{value:.2f}" if value > 0 else ""))
    return tuple(tokens)


def histogram(counts: Sequence[int], maximum: float) -> tuple[Bar, ...]:
    """Bars of log-scaled height, since a feature's weak activations outnumber its strong ones by far."""
    width, height = _PLOT
    top = math.log1p(max(counts, default=0)) or 1.0
    each, step = width / max(1, len(counts)), maximum / max(1, len(counts))
    bars = []
    for index, number in enumerate(counts):
        tall = round(height * math.log1p(number) / top, 2)
        title = f"{index * step:.2f} to {(index + 1) * step:.2f}: {number}"
        bars.append(Bar(round(index * each, 2), round(height - tall, 2), round(each - 1, 2), tall, title))
    return tuple(bars)


def _token(text: str) -> str:
    """A token as it is read in a line: its own line ends shown, other hidden characters as code points."""
    return visible(text.replace("\n", "⏎").replace("\t", "⇥"))


@cache
def _assets(*names: str) -> str:
    return "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)
