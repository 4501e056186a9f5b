"""`surgery anatomy`: which tensors of a model write to its residual stream, and proof that these are all."""

from __future__ import annotations

import json
import sys

import click


@click.command()
@click.argument("model", required=False)
@click.option("--revision", help="Branch, tag or commit of a Hub model.")
@click.option("--json", "as_json", is_flag=True, help="Print every writer, and the proof, as JSON.")
@click.option("--no-proof", is_flag=True, help="Read names and shapes only; build and run no twin.")
@click.option("--table", is_flag=True, help="Prove every known family and print docs/families.md instead.")
def anatomy(model: str | None, revision: str | None, as_json: bool, no_proof: bool, table: bool) -> None:
    """Show the writers of MODEL (a folder, a Hub id, or demo:refuser) and prove them on its twin.

    The twin is a tiny random model of the same kind: edited by the same code, then run. No weight of MODEL
    itself is read.

    Exit codes: 0 exact (or not asked to prove), 1 not exact or not known, 2 no such model or bad usage.
    """
    if table:
        from surgery.cli.families_page import families_page

        click.echo(families_page(), nl=False)
        return
    if model is None:
        raise click.UsageError("name a MODEL: a folder, a Hub id, or demo:refuser (or give --table)")
    from surgery.checkpoint.layout import open_checkpoint
    from surgery.cli.anatomy_screen import anatomy_as_json, anatomy_lines
    from surgery.cli.console import open_console, print_lines
    from surgery.edit.proof import prove
    from surgery.model.anatomy import read_anatomy
    from surgery.model.source import locate_model

    checkpoint = open_checkpoint(locate_model(model, revision=revision).folder)
    found = read_anatomy(checkpoint.config, checkpoint.shapes)
    proof = None if no_proof else prove(checkpoint.config, model=found)
    if as_json:
        click.echo(json.dumps(anatomy_as_json(model, found, checkpoint.shapes, proof), indent=2))
    else:
        console = open_console()
        print_lines(console, anatomy_lines(model, found, checkpoint.shapes, proof, width=console.width))
    if proof is not None and not proof.exact:
        sys.exit(1)
