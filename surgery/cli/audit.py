"""`surgery audit`: check a finished result again, from its bytes alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.text import Text

    from surgery.edit.audit import AuditRow
    from surgery.edit.recheck import Recheck


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--base", help="Folder, Hub id or demo: name of the base; default: the one the result's report names."
)
@click.option("--revision", help="Branch, tag or commit of the base.")
@click.option("--no-base", is_flag=True, help="Check sums, headers and index only.")
@click.option("--json", "as_json", is_flag=True, help="Print every edited tensor, and the problems, as JSON.")
def audit(out: Path, base: str | None, revision: str | None, no_base: bool, as_json: bool) -> None:
    """Check OUT, a folder that `surgery apply` wrote: sums, headers, index, and every edit against the base.

    Nothing that the run reported is believed: hashes, leaks and strengths are measured again from the bytes.

    Exit codes: 0 as recorded, 1 something differs, 2 no such result or base, or bad usage.
    """
    from surgery.cli.console import LiveProgress, open_console, print_lines
    from surgery.edit.recheck import is_adapter, recheck, recheck_as_json
    from surgery.errors import SourceError
    from surgery.hub import is_hub_id

    if no_base and base is not None:
        raise click.UsageError("--base and --no-base exclude each other")
    if not out.exists():
        bring = f"`hf download {out} --local-dir FOLDER` brings a published one here"
        way = bring if is_hub_id(str(out)) else "name the output folder of a `surgery apply`"
        raise SourceError(f"{out}: no such folder; {way}")
    place = None if no_base or is_adapter(out) else _locate(out, base, revision)
    with LiveProgress() as progress:
        result = recheck(out, place, progress=lambda done, total: progress.advance(done, total, "bytes"))
    if as_json:
        click.echo(json.dumps(recheck_as_json(result), indent=2))
    else:
        console = open_console()
        print_lines(console, audit_lines(result, width=console.width))
    if result.problems:
        sys.exit(1)


def audit_lines(result: Recheck, *, width: int) -> list[Text]:
    """The screen, for a terminal of `width` columns."""
    from surgery.cli.layout import sections
    from surgery.report.numbers import count

    parts = {
        "files": [f"{count(result.n_files)} listed in SHA256SUMS, all read"],
        "tensors": [
            f"{count(result.n_tensors)} listed in audit.json with a SHA-256 of their own, all hashed"
        ],
        "edits": _edits(result),
        "problems": result.problems or ("none",),
    }
    return sections(str(result.folder), parts, width)


def _locate(out: Path, base: str | None, revision: str | None) -> Path:
    from surgery.edit.recheck import recorded_base
    from surgery.errors import SourceError
    from surgery.model.source import locate_model

    if base is not None:
        return locate_model(base, revision=revision).folder
    said = recorded_base(out)
    try:
        return locate_model(said.source, revision=revision or said.commit).folder
    except SourceError as error:
        raise SourceError(
            f"{error}\n{out}: its report names this base; give it by --base, or --no-base to check sums,"
            " headers and index only"
        ) from error


def _edits(result: Recheck) -> tuple[str, ...]:
    from surgery.edit.recheck import is_adapter
    from surgery.report.numbers import count, tiny

    found = result.audit
    if found is None and is_adapter(result.folder):
        return ("an adapter edits no file of its base; `surgery reproduce` writes it again and compares",)
    if found is None:
        return ("not compared with a base",)
    if not found.rows:
        return ("none is planned",) if not result.problems else ("not measured",)
    rows = [row for row in found.rows if not row.at_floor] or list(found.rows)
    outside = "every other byte is the base's" if found.untouched_identical else "other bytes differ too"
    return (
        f"{count(len(found.rows))} tensors measured against {result.base}: {outside}",
        f"leak at most {tiny(found.max_leak)} · strength reached {_range(rows)} · no element further than"
        f" {max(row.off_by for row in found.rows):.2g} steps from the exact result",
    )


def _range(rows: list[AuditRow]) -> str:
    reached = [value for row in rows for value in row.achieved]
    low, high = min(reached), max(reached)
    return f"{low:.4f}" if f"{low:.4f}" == f"{high:.4f}" else f"{low:.4f} to {high:.4f}"
