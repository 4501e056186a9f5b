"""`surgery schema`: the JSON Schema of a recipe on standard output."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON Schema of a recipe.

    Save it where your editor finds it, and the editor completes keys and explains them as you write.
    """
    from surgery.recipe import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
