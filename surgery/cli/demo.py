"""`surgery demo`: the embedded model, built again from its seed."""

from __future__ import annotations

from pathlib import Path

import click

_NEEDED = 8_000_000
"""Bytes; the shipped model may not be larger."""


@click.group()
def demo() -> None:
    """The embedded demo model: how it was made, and how to make it again."""


@demo.command(short_help="Text, training, measurements, everything, into FOLDER.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--seed", type=int, help="Seed of the text and the training; by default that of the shipped model."
)
def build(folder: Path, seed: int | None) -> None:
    """Write the text, train the model in five stages, measure it, and save everything into FOLDER.

    About three quarters of an hour on one core. FOLDER must not exist, and appears when all of it is there.
    """
    from surgery.checkpoint.folder import new_folder
    from surgery.demo.build import SEED
    from surgery.demo.build import build as build_demo

    with new_folder(folder, needed_bytes=_NEEDED) as staging:
        build_demo(
            staging, seed=SEED if seed is None else seed, progress=lambda line: click.echo(line, err=True)
        )
    click.echo(f"{folder}: model, prompt sets and quality.json are written")
