"""`surgery diff`: what changed between two checkpoints, and what kind of edit it was."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from surgery.cli.diff_files import Seen
    from surgery.compare.diff import Diff
    from surgery.compare.nearest import Nearest


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--revision-before", help="Branch, tag or commit of BEFORE on the Hub.")
@click.option("--revision-after", help="Branch, tag or commit of AFTER on the Hub.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON (docs/diff.md).")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing; the exit code is the answer.")
@click.option("--exit-zero", is_flag=True, help="Exit 0 also where they differ.")
@click.option("--tensors", is_flag=True, help="Also print a line for every changed tensor.")
@click.option("--save-direction", type=click.Path(path_type=Path), help="Save the recovered directions here.")
@click.option(
    "--direction",
    "directions",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A safetensors file of directions to compare with; may be repeated.",
)
@click.option(
    "--dictionary", "dictionaries", multiple=True, help="A dictionary whose features to compare with."
)
@click.option(
    "--html", type=click.Path(path_type=Path), help="Write a page with every number and picture here."
)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a summary for a model card here.")
@click.option(
    "--extract-lora", type=click.Path(path_type=Path), help="Write the change as a PEFT adapter here."
)
@click.option("--rank", default="auto", show_default=True, help="Rank of that adapter: auto, or a number.")
@click.option(
    "--expect",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A recipe or lock of `surgery apply`: exit 0 if exactly what it says has changed, else 1.",
)
def diff(
    before: str,
    after: str,
    revision_before: str | None,
    revision_after: str | None,
    as_json: bool,
    quiet: bool,
    exit_zero: bool,
    tensors: bool,
    save_direction: Path | None,
    directions: tuple[Path, ...],
    dictionaries: tuple[str, ...],
    html: Path | None,
    markdown: Path | None,
    extract_lora: Path | None,
    rank: str,
    expect: Path | None,
) -> None:
    """Compare BEFORE and AFTER: folders, Hub ids, or demo:refuser; AFTER may be a LoRA adapter of BEFORE.

    Both are streamed; neither is ever whole in memory. Exit codes: 0 the same, 1 different, 2 trouble.
    """
    # The comparison's own threads share the cores; those of numpy's BLAS would only wait for each other. It
    # reads this once, when numpy is first imported, which the next line does.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from surgery.cli.diff_files import Seen, Wanted, check_files, write_files
    from surgery.errors import OutputError, SurgeryError

    wanted = Wanted(save_direction, html, markdown, extract_lora, rank)
    try:
        check_files(wanted)
        found = _compare(before, after, revision_before, revision_after)
        seen = Seen(before, after, found, *_neighbours(found, directions, dictionaries))
        if not quiet:
            _show(seen, as_json=as_json, tensors=tensors)
        for line in write_files(seen, wanted):
            if not quiet:
                click.echo(line, err=True)
        surprises = _surprises(found, expect, quiet=quiet)
    except (SurgeryError, OSError) as error:
        from surgery.cli.console import print_error

        print_error(error if isinstance(error, SurgeryError) else OutputError(str(error)))
        sys.exit(2)
    differs = bool(surprises) if expect is not None else not found.same
    if differs and not exit_zero:
        sys.exit(1)


def _compare(before: str, after: str, revision_before: str | None, revision_after: str | None) -> Diff:
    from surgery.checkpoint.layout import open_checkpoint
    from surgery.cli.console import LiveProgress
    from surgery.compare.diff import compare_adapter, compare_checkpoints
    from surgery.compare.lora import is_adapter
    from surgery.model.source import locate_model

    one = open_checkpoint(locate_model(before, revision=revision_before).folder)
    folder = locate_model(after, revision=revision_after).folder
    two = None if is_adapter(folder) else open_checkpoint(folder)
    with LiveProgress() as progress:
        progress.stage("compare")

        def advance(done: int, total: int) -> None:
            progress.advance(done, total, "bytes")

        if two is None:
            return compare_adapter(one, folder, progress=advance)
        return compare_checkpoints(one, two, progress=advance)


def _neighbours(
    found: Diff, directions: tuple[Path, ...], dictionaries: tuple[str, ...]
) -> tuple[tuple[Nearest, ...], dict[str, tuple[float, ...]]]:
    """What the recovered direction is close to; the edited folder's own record is always looked at."""
    import numpy as np

    from surgery.compare.nearest import cosines_with, nearest_features
    from surgery.dictionary.source import open_dictionary
    from surgery.direction.direction import read_directions

    part = found.verdict.ablation
    recovered = [] if part is None or part.shared is None else [("", part.shared.vectors)]
    added = found.evidence.added_vectors.items()
    recovered += [(name, vector[None] / np.linalg.norm(vector)) for name, vector in added if vector.any()]
    if not recovered:
        return (), {}
    own = found.after.folder / "surgery" / "direction.safetensors"
    files = [*([own] if own.is_file() else []), *directions]
    saved = {
        f"{file.name}: {name}": direction.vector.astype("float64")
        for file in files
        for name, direction in read_directions(file).items()
    }
    near = [nearest_features(recovered[0][1][0], open_dictionary(name)) for name in dictionaries]
    cosines = {
        f"{name}, {tensor}" if len(recovered) > 1 and tensor else name: values
        for tensor, vectors in recovered
        for name, values in cosines_with(vectors, saved).items()
    }
    return tuple(near), cosines


def _surprises(found: Diff, expect: Path | None, *, quiet: bool) -> tuple[str, ...]:
    if expect is None:
        return ()
    from surgery.cli.diff_expect import unexpected

    surprises = unexpected(expect, found.before, found.after)
    if not quiet:
        for line in surprises or (f"exactly what {expect.name} says, to the last rounding",):
            click.echo(f"expect      {line}", err=True)
    return surprises


def _show(seen: Seen, *, as_json: bool, tensors: bool) -> None:
    if as_json:
        from surgery.compare.as_json import diff_as_json

        found = diff_as_json(seen.diff, nearest=seen.nearest, cosines=seen.cosines)
        click.echo(json.dumps(found, indent=2))
        return
    from surgery.cli.console import open_console, print_lines
    from surgery.cli.diff_screen import diff_lines

    console = open_console()
    lines = diff_lines(seen.diff, seen.nearest, seen.cosines, tensors=tensors, width=console.width)
    print_lines(console, lines)
