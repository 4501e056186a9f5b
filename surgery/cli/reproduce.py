"""`surgery reproduce`: write the bytes of a finished result again from its lock, and compare."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.text import Text

    from surgery.reproduction import Reproduction


@click.command()
@click.argument("lock", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="The new folder; default: the one that LOCK names."
)
@click.option("--base", help="Folder, Hub id or demo: name of the base; default: the one that LOCK names.")
@click.option("--json", "as_json", is_flag=True, help="Print what was compared as JSON.")
def reproduce(lock: Path, output: Path | None, base: str | None, as_json: bool) -> None:
    """Write a result again from LOCK, its surgery/surgery.lock.yaml or its folder, and compare every file.

    The base is fetched at the commit that LOCK names and its weights are checked; the directions are those
    that stand beside LOCK, so no model is run.

    Exit codes: 0 the same bytes, 1 something differs, 2 nothing could be compared, or bad usage.
    """
    from surgery.cli.console import LiveProgress, open_console, print_error, print_lines
    from surgery.errors import SurgeryError
    from surgery.reproduction import reproduce as run

    try:
        with LiveProgress() as progress:
            done = run(
                lock,
                output=output,
                base=base,
                progress=lambda now, total: progress.advance(now, total, "bytes"),
            )
    except SurgeryError as error:
        print_error(error)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(asdict(done), indent=2, default=str))
    else:
        console = open_console()
        print_lines(console, reproduction_lines(done, width=console.width))
    if done.differences:
        sys.exit(1)


def reproduction_lines(done: Reproduction, *, width: int) -> list[Text]:
    """The screen, for a terminal of `width` columns."""
    from surgery.cli.layout import sections
    from surgery.report.numbers import count

    files = (
        f"{count(done.n_compared)} compared with SHA256SUMS, of which {count(done.n_copied)} are the first"
        " run's record, copied"
    )
    return sections(str(done.folder), {"files": [files], "differ": done.differences or ("none",)}, width)
