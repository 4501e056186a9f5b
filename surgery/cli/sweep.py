"""`surgery sweep`: a recipe over numbers of features, strengths or layers, as numbers and as a figure."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from surgery.cli.options import setting

if TYPE_CHECKING:
    from surgery.report.sweep import Axis

_MOST = 200


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--k", "sizes", help="Numbers of features: 1-16, or 1,2,4,8.  [default: 1-16]")
@click.option("--strength", "strengths", help="Strengths: 0,0.5,1,1.5.")
@click.option("--layer", "layers", help="Layers: 2-10; the direction taken anew at each, not rebuilt.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the results.  [default: out/sweep_<recipe>]"
)
@click.option(
    "--skyline", type=click.Path(path_type=Path), help="A safetensors file with an optimised direction."
)
@click.option("--name", help="Name of the skyline, where its file holds several directions.")
@setting
@click.option("--json", "as_json", is_flag=True, help="Print the points as JSON lines.")
def sweep(
    recipe: Path,
    sizes: str | None,
    strengths: str | None,
    layers: str | None,
    out: Path | None,
    skyline: Path | None,
    name: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure RECIPE at several settings of one thing; nothing is edited on disk.

    Beside them stand the unedited model, a random direction, the direction before it was rebuilt, and a
    skyline where one is given. Points are kept as they come: run it again and it goes on.
    """
    from surgery.cli.console import LiveProgress, open_console, print_lines
    from surgery.cli.sweep_screen import sweep_lines
    from surgery.direction.direction import Direction
    from surgery.recipe import load_recipe
    from surgery.report.sweep import write_sweep
    from surgery.report.sweep_figure import write_figure
    from surgery.sweep.run import sweep as run

    axis, values = chosen_axis(sizes, strengths, layers)
    loaded = load_recipe(recipe, overrides=overrides)
    folder = out or Path("out") / f"sweep_{loaded.name}"
    optimised = None if skyline is None else Direction.load(skyline, name)
    with LiveProgress() as progress:
        found = run(loaded, axis, values, folder, skyline=optimised, observer=progress)
    files = (write_sweep(found, folder), *write_figure(found, folder))
    if as_json:
        for point in (*found.lines, *found.points):
            click.echo(json.dumps(asdict(point)))
        return
    console = open_console()
    print_lines(console, sweep_lines(found, files, console.width))


def chosen_axis(sizes: str | None, strengths: str | None, layers: str | None) -> tuple[Axis, list[float]]:
    """The one axis that was asked for, and its values."""
    given = {"k": sizes, "strength": strengths, "layer": layers}
    named = [name for name, text in given.items() if text is not None]
    if len(named) > 1:
        raise click.UsageError(f"one of --{', --'.join(named)} at a time")
    axis: Axis = "strength" if strengths is not None else "layer" if layers is not None else "k"
    text = given[axis] or "1-16"
    try:
        return axis, parse_values(text, whole=axis != "strength", least=1 if axis == "k" else 0)
    except ValueError as error:
        raise click.UsageError(f"--{axis} {text}: {error}") from error


def parse_values(text: str, *, whole: bool, least: int = 0) -> list[float]:
    """`1-4`, `0,0.5,1` as numbers, ascending, each once.

    Raises:
        ValueError: they are not written so, or there are too many or none.
    """
    values: set[float] = set()
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            if dash and first:
                values.update(float(each) for each in range(int(first), int(last) + 1))
            else:
                values.add(float(int(part) if whole else float(part)))
    except ValueError as error:
        example = "as 1-16 or as 1,2,4" if whole else "as 0,0.5,1"
        raise ValueError(f"write the values {example}") from error
    if whole and values and min(values) < least:
        raise ValueError(f"values begin at {least}")
    if not 1 <= len(values) <= _MOST:
        raise ValueError(f"1 to {_MOST} values are wanted, and these are {len(values)}")
    return sorted(values)
