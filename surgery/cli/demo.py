"""`surgery demo`: the embedded model, built again from its seed."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def demo() -> None:
    """The embedded demo model: how it was made, and how to make it again."""


@demo.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, help="Seed of the text, the split and the training.")
def build(folder: Path, seed: int) -> None:
    """Write the text, train the model in two stages, measure it, and save everything into FOLDER."""
    from surgery.cli.console import LiveProgress
    from surgery.demo.build import build as build_demo

    with LiveProgress() as progress:
        build_demo(folder, seed=seed, progress=progress.advance)
    click.echo(f"{folder}: model, prompt sets and quality.json are written")
