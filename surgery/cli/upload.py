"""`surgery upload`: publish a finished result on the Hub."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from rich.text import Text

    from surgery.publish.prospect import Prospect
    from surgery.publish.upload import Published


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repository", metavar="REPO")
@click.option("--public", is_flag=True, help="Make the repository public; without it, it is private.")
@click.option(
    "--gated",
    type=click.Choice(["auto", "manual"]),
    help="Let the Hub ask who downloads: everyone who asks gets it (auto), or whom you let (manual).",
)
@click.option("--base", metavar="ID", help="Hub id of the base model, where the files do not name it.")
@click.option("--license", "licence", metavar="ID", help="The licence, where their README names none.")
@click.option("--replace", is_flag=True, help="Delete files of REPO that FOLDER does not have.")
@click.option("--force", is_flag=True, help="Publish in spite of a failed gate or a changed file.")
@click.option("--dry-run", is_flag=True, help="Check everything, send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def upload(
    folder: Path,
    repository: str,
    *,
    public: bool,
    gated: Literal["auto", "manual"] | None,
    base: str | None,
    licence: str | None,
    replace: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish FOLDER as the model repository REPO (account/name) on the Hub.

    FOLDER is what `surgery apply` wrote, an adapter, a dictionary that SAELens reads, or a safetensors file
    of directions; the last three get a card where they have none. A result that was made from a folder does
    not know the name of its base on the Hub: --base gives it.

    Everything goes to a pull request first, card and manifest last; it is merged when every file there has
    the hash it has here. Run the same command again after a cut, and it goes on in the same pull request.
    The token is the one that `hf auth login` stored, or HF_TOKEN.

    Exit codes: 0 published, 1 refused or failed, 2 nothing to publish, or bad usage.
    """
    from surgery.cli.console import open_console, print_lines
    from surgery.errors import UploadError
    from surgery.hub.repository import progress_bars
    from surgery.publish.prospect import prepare_upload
    from surgery.publish.upload import carry_out

    console, notices = open_console(), open_console(sys.stderr)
    prospect = prepare_upload(
        folder, repository, public=public, replace=replace, gated=gated, base=base, licence=licence
    )
    if dry_run:
        if as_json:
            click.echo(json.dumps(_prospect_as_json(prospect), indent=2))
        else:
            print_lines(console, prospect_lines(prospect, width=console.width))
        if prospect.problems and not force:
            raise UploadError("as it is, this would not be sent without --force")
        return
    if notices.is_terminal:
        print_lines(notices, prospect_lines(prospect, width=notices.width))
    with progress_bars(notices.is_terminal):
        done = carry_out(prospect, force=force)
    if as_json:
        click.echo(json.dumps(asdict(done), indent=2))
    else:
        print_lines(console, published_lines(done, width=console.width))


def prospect_lines(prospect: Prospect, *, width: int) -> list[Text]:
    """What would be done, for a terminal of `width` columns."""
    from surgery.cli.layout import sections
    from surgery.report.numbers import count, size

    bundle = prospect.bundle
    state = "exists" if prospect.repository is not None else "is made"
    files = f"{count(len(bundle.files))} files, {size(bundle.n_bytes)}"
    files += f"; {count(len(prospect.missing))} are not there" if prospect.missing else "; all of it is there"
    what = [f"{prospect.name} {state}, {_access(prospect)}", f"{bundle.kind}: {files}"]
    what += [f"{name} is deleted" for name in prospect.foreign]
    parts = {"upload": what, "problems": prospect.problems or ("none",), "notes": prospect.notes}
    return sections(str(bundle.folder), parts, width)


def published_lines(done: Published, *, width: int) -> list[Text]:
    """What was done, for a terminal of `width` columns."""
    from surgery.cli.layout import sections
    from surgery.report.numbers import count, size

    over = f"pull request {done.pull_request}{', begun before,' if done.resumed else ''} merged"
    what = [
        f"{done.name}, {_access(done)}, at commit {done.commit}",
        f"{count(done.n_files)} files, {size(done.n_bytes)}, of which {size(done.sent_bytes)} were not there",
        "every hash on the Hub is the one here",
        "it held all of this already" if done.pull_request is None else over,
    ]
    parts = {"upload": what, "forced": done.forced_past, "notes": done.notes}
    return sections(done.name, parts, width)


def _access(stands: Prospect | Published) -> str:
    """Who gets at it: `private`, `public, gated (manual)`."""
    return ("private" if stands.private else "public") + (f", gated ({stands.gated})" if stands.gated else "")


def _prospect_as_json(prospect: Prospect) -> dict[str, Any]:
    return {
        "folder": str(prospect.bundle.folder),
        "name": prospect.name,
        "kind": prospect.bundle.kind,
        "private": prospect.private,
        "gated": prospect.gated,
        "exists": prospect.repository is not None,
        "n_files": len(prospect.bundle.files),
        "n_bytes": prospect.bundle.n_bytes,
        "missing": list(prospect.missing),
        "deleted": list(prospect.foreign),
        "problems": list(prospect.problems),
        "notes": list(prospect.notes),
    }
