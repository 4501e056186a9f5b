"""`training.html`: one run on one self-contained page, what it came to and its curves.

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
    ("fvu_batch", "FVU, variance unexplained per batch", "log", "{x:g}"),
    ("l0", "L0, active features per token", "linear", "{x:g}"),
    ("dead_share", "dead share, features silent for long", "linear", "{x:.1%}"),
    ("loss", "loss", "log", "{x:g}"),
)
SMOOTHED = 100  # lines of metrics.jsonl from which a mean over a twentieth of them is drawn over the curve
INK, ACCENT, FAINT = "#1f2430", "#2a6f97", "#d9dee5"
ON_PAGE = {INK: "currentColor", ACCENT: "var(--line)", FAINT: "var(--rule)"}
STYLE = """\
:root { color-scheme: light dark; --ink: #1f2430; --soft: #55606e; --page: #f6f7f9; --sheet: #fff;
  --rule: #d9dee5; --line: #2a6f97; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #9aa5b1; --page: #101317;
  --sheet: #181c22; --rule: #2b323b; --line: #6db3dd; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 2rem 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } p { margin: 0 0 1.25rem; color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; background: var(--sheet); border: 1px solid var(--rule);
  border-radius: 8px; break-inside: avoid; }
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
    ("kl_spliced", "KL to the spliced model, nats", ".4f"),
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
    rows = "".join(
        f"<tr><td>{label}</td><td>{format(numbers[name], form)}</td></tr>" for name, label, form in FINAL
    )
    figures = [f"<figure><figcaption>on held-out texts</figcaption><table>{rows}</table></figure>"]
    figures += [_figure(caption, _curve(lines, name, *how)) for name, caption, *how in CURVES]
    figures.insert(-1, _figure("density of features, held-out tokens", _histogram(density)))
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


def _curve(lines: Sequence[dict[str, float]], name: str, scale: str, form: str) -> str:
    steps, values = ([line[each] for line in lines] for each in ("step", name))

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        dense = len(lines) >= SMOOTHED
        axes.plot(
            steps, values, color=ACCENT, linewidth=1 if dense else 1.6, alpha=0.4 if dense else 1,
            marker="o" if len(lines) < 12 else None, markersize=3,
        )  # fmt: skip
        if dense:
            axes.plot(*_smooth(steps, values), color=ACCENT, linewidth=1.8)
        # a logarithm has no place for a value that reached zero
        if scale == "log" and min(values, default=0.0) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(0, 1.2 * max(values, default=0.0) or 0.05)
        axes.yaxis.set_major_formatter(form)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("step")
        axes.set_xlim(left=0)

    return _svg(draw)


def _smooth(steps: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Means over windows of a twentieth of the lines, at the middle of each."""
    window = len(values) // 20
    means = np.convolve(values, np.full(window, 1 / window), "valid")
    return np.convolve(steps, np.full(window, 1 / window), "valid"), means


def _histogram(density: np.ndarray) -> str:
    alive = np.log10(density[density > 0])
    silent = int((density == 0).sum())

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        axes.hist(alive, bins=40, color=ACCENT)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"log10 of the share of tokens ({silent:,} of {len(density):,} never fired)")
        axes.set_ylabel("features")

    return _svg(draw)


def _svg(draw: Any) -> str:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    inks: dict[Any, str] = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    with rc_context({"svg.hashsalt": "surgery-train", "svg.fonttype": "none", "font.size": 9, **inks}):
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
    for colour, variable in ON_PAGE.items():
        text = text.replace(colour, variable)
    return text[text.index("<svg") :]
