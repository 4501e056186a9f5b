"""Options that several commands share, under one name and with one explanation."""

from __future__ import annotations

import click

setting = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a key, as in direction.refusal.reconstruct.k=4; repeat.",
)
