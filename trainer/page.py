"""`training.html`: one run on one self-contained page, its curves and what it came to.

Nothing is loaded from elsewhere: the pictures are SVG inside the page, and it can be sent as it is.
"""

import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.card import kind
from trainer.config import Config

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = (
    ("loss", "loss", "log"),
    ("fvu_batch", "FVU, variance unexplained per batch", "log"),
    ("l0", "L0, active features per token", "linear"),
    ("dead_share", "dead share, features silent for long", "linear"),
)
INK, ACCENT, FAINT = "#1f2430", "#2a6f97", "#d9dee5"
STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2430; background: #f6f7f9; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } p { margin: 0 0 1.25rem; color: #55606e; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; background: #fff; border: 1px solid #e3e7ec; border-radius: 8px; }
figure svg { width: 100%; height: auto; display: block; }
figcaption { font-weight: 600; font-size: .9rem; margin-bottom: .25rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; } td { padding: .2rem .4rem .2rem 0; }
td:last-child { text-align: right; font-variant-numeric: tabular-nums; }
"""
FINAL = (
    ("fvu", "FVU, variance unexplained", ".4f"),
    ("l0", "L0, active features per token", ".2f"),
    ("dead_share", "dead share", ".2%"),
    ("loss_recovered", "loss recovered", ".4f"),
    ("mean_squared_correlation", "mean squared correlation", ".4f"),
    ("tokens", "held-out tokens", ",d"),
    ("tokens_trained", "tokens trained", ",d"),
    ("seed", "seed", "d"),
)


def page(
    config: Config, lines: Sequence[dict[str, float]], numbers: dict[str, Any], density: np.ndarray
) -> str:
    """The page, from the lines of metrics.jsonl, the final numbers, each feature's density (n_features,)."""
    place = f"layer {config.hook.layer} {config.hook.point}"
    title = f"Dictionary of {config.model.source}, {place}"
    figures = [_figure(title, _curve(lines, name, scale)) for name, title, scale in CURVES]
    figures.append(_figure("density of features, held-out tokens", _histogram(density)))
    rows = "".join(
        f"<tr><td>{label}</td><td>{format(numbers[name], form)}</td></tr>" for name, label, form in FINAL
    )
    figures.append(f"<figure><figcaption>on held-out texts</figcaption><table>{rows}</table></figure>")
    about = (
        f"{kind(config.dictionary)}; {config.dictionary.features:,} features; {config.training.steps:,} steps"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main><h1>{escape(title)}</h1>"
        f'<p>{escape(about)} of {config.training.batch:,} tokens</p><div class="figures">'
        f"{''.join(figures)}</div></main></body></html>\n"
    )


def _figure(caption: str, picture: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{picture}</figure>"


def _curve(lines: Sequence[dict[str, float]], name: str, scale: str) -> str:
    def draw(axes: "Axes") -> None:
        steps, values = [line["step"] for line in lines], [line[name] for line in lines]
        # a logarithm has no place for a value that reached zero
        axes.set_yscale(scale if min(values, default=1.0) > 0 else "linear")
        axes.plot(
            steps, values, color=ACCENT, linewidth=1.6, marker="o" if len(lines) < 12 else None, markersize=3
        )
        axes.set_xlabel("step")
        axes.set_xlim(left=0)
        if axes.get_yscale() == "linear":
            axes.set_ylim(bottom=0)

    return _svg(draw)


def _histogram(density: np.ndarray) -> str:
    alive = np.log10(density[density > 0])
    silent = int((density == 0).sum())

    def draw(axes: "Axes") -> None:
        axes.hist(alive, bins=40, color=ACCENT)
        axes.set_xlabel(f"log10 of the share of tokens ({silent:,} of {len(density):,} never fired)")
        axes.set_ylabel("features")

    return _svg(draw)


def _svg(draw: Any) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "surgery-train", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
        axes.tick_params(colors=INK, length=3)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    text = stream.getvalue()
    return text[text.index("<svg") :]
