"""`surgery schema`: the JSON Schema of a recipe on standard output."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--markdown", is_flag=True, help="Print docs/recipe.md, a page that explains every key.")
def schema(markdown: bool) -> None:
    """Print the JSON Schema of a recipe.

    Save it where your editor finds it, and the editor completes keys and explains them as you write.
    """
    from surgery.recipe import json_schema
    from surgery.recipe.page import recipe_page

    click.echo(
        recipe_page() if markdown else json.dumps(json_schema(), indent=2, ensure_ascii=False),
        nl=not markdown,
    )
