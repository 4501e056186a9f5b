"""`surgery apply`: run a recipe and show what it did."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from surgery.cli.options import setting


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@setting
@click.option("--dry-run", is_flag=True, help="Find the directions and print the plan; write nothing.")
@click.option("--resume", is_flag=True, help="Go on with what an interrupted run left; else begin.")
@click.option("--json", "as_json", is_flag=True, help="Print the report (or the plan) as JSON.")
def apply(recipe: Path, overrides: tuple[str, ...], dry_run: bool, resume: bool, as_json: bool) -> None:
    """Run RECIPE: find the directions, edit every writer, write the result, measure it.

    A run that is killed, or stopped by Ctrl-C, while it writes or measures keeps what it has written in a
    hidden folder beside the output; --resume checks that and goes on.

    Exit codes: 0 done, 1 failed, 2 bad recipe or usage, 3 done but a gate failed.
    """
    from surgery.apply import apply as run
    from surgery.cli.console import LiveProgress, print_plan, print_report
    from surgery.edit.plan_record import plan_as_json
    from surgery.preparation import prepare
    from surgery.recipe import load_recipe
    from surgery.recipe.editing import Add
    from surgery.report.report import report_as_json
    from surgery.report.steps import describe_step

    loaded = load_recipe(recipe, overrides=overrides)
    if dry_run:
        with LiveProgress() as progress:
            prepared = prepare(loaded, progress)
        if as_json:
            click.echo(json.dumps(plan_as_json(prepared.plan), indent=2))
            return
        additions = [describe_step(step) for step in loaded.recipe.edit.steps if isinstance(step, Add)]
        form = loaded.recipe.output.form
        print_plan(prepared.plan, findings=prepared.findings, additions=additions, form=form)
        return
    with _saying_what_stands(loaded.target):
        with LiveProgress() as progress:
            report = run(loaded, observer=progress, resume=resume)
        if as_json:
            click.echo(json.dumps(report_as_json(report), indent=2))
        else:
            print_report(report)
    if report.verdict == "fail":
        sys.exit(3)


@contextmanager
def _saying_what_stands(target: Path) -> Iterator[None]:
    """An interrupt says what it leaves where nobody has said it: the result may stand already."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not getattr(interrupt, "__notes__", None):
            stands = (
                f"the result stands finished in {target}" if target.exists() else "nothing was left behind"
            )
            interrupt.add_note(f"stopped; {stands}")
        raise
