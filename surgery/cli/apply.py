"""`surgery apply`: run a recipe and show what it did."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a key: direction.refusal.reconstruct.k=4.",
)
@click.option("--dry-run", is_flag=True, help="Find the directions and print the plan; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report (or the plan) as JSON.")
def apply(recipe: Path, overrides: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Run RECIPE: find the directions, edit every writer, write the result, measure it.

    Exit codes: 0 done, 1 failed, 2 bad recipe or usage, 3 done but a gate failed.
    """
    from surgery.apply import apply as run
    from surgery.cli.console import LiveProgress, print_plan, print_report
    from surgery.edit.plan import plan_as_json
    from surgery.preparation import prepare
    from surgery.recipe import load_recipe
    from surgery.report.report import report_as_json

    loaded = load_recipe(recipe, overrides=overrides)
    with LiveProgress() as progress:
        if dry_run:
            plan = prepare(loaded, progress).plan
        else:
            report = run(loaded, observer=progress)
    if dry_run:
        click.echo(json.dumps(plan_as_json(plan), indent=2)) if as_json else print_plan(plan)
        return
    click.echo(json.dumps(report_as_json(report), indent=2)) if as_json else print_report(report)
    if report.verdict == "fail":
        sys.exit(3)
