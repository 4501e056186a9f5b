"""`surgery check`: everything that is wrong with a recipe, at once; nothing is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surgery.cli.options import setting
from surgery.errors import Problem, RecipeError

if TYPE_CHECKING:
    from surgery.recipe import LoadedRecipe


@dataclass(frozen=True)
class Checked:
    """One recipe file and what came of it: `loaded`, or problems."""

    path: str
    loaded: LoadedRecipe | None
    problems: tuple[Problem, ...] = ()


@click.command()
@click.argument("recipes", nargs=-1, required=True, type=click.Path(), metavar="RECIPE...")
@setting
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(recipes: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Read recipes strictly and report everything that is wrong with them; run nothing.

    Exit code 0 when all are good, 2 when there is any problem.
    """
    checked = [check_one(path, overrides) for path in recipes]
    click.echo(_as_json(checked) if as_json else _as_text(checked))
    if any(each.problems for each in checked):
        sys.exit(2)


def check_one(path: str, overrides: Sequence[str]) -> Checked:
    """Load one recipe, keeping its problems."""
    from surgery.recipe import load_recipe

    try:
        return Checked(path, load_recipe(Path(path), overrides=overrides))
    except RecipeError as error:
        return Checked(path, None, error.problems)


def _as_text(checked: Sequence[Checked]) -> str:
    problems = [problem for each in checked for problem in each.problems]
    rows = [(problem.place, problem.sentence) for problem in problems]
    good = [(each.path, _summary(each.loaded)) for each in checked if each.loaded]
    width = max(len(place) for place, _ in (*rows, *good))
    lines = [f"{place:<{width}}   {sentence}" for place, sentence in (*good, *rows)]
    return "\n".join([*lines, *([_verdict(checked, len(problems))] if problems else [])])


def _summary(loaded: LoadedRecipe) -> str:
    recipe = loaded.recipe
    suites = [name for name, value in recipe.verify if value is not None and name != "control"]
    counts = (
        _count(len(recipe.direction), "direction"),
        _count(len(recipe.edit.steps), "edit"),
        _count(len(suites), "suite"),
    )
    output = f"{recipe.output.form} in {recipe.output.folder}"
    return " · ".join(("fine", recipe.model.source, *counts, output))


def _verdict(checked: Sequence[Checked], number: int) -> str:
    bad = sum(bool(each.problems) for each in checked)
    where = f" in {bad} of {len(checked)} recipes" if len(checked) > 1 else ""
    return f"{_count(number, 'problem')}{where}; nothing was run."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _as_json(checked: Sequence[Checked]) -> str:
    rows: list[dict[str, Any]] = [
        {
            "recipe": each.path,
            "name": each.loaded.name if each.loaded else None,
            "problems": [asdict(problem) for problem in each.problems],
        }
        for each in checked
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)
