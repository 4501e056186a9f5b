"""The files that `surgery diff` writes beside what it prints: pages, directions, an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from surgery.checkpoint.folder import absolute, check_absent, new_folder
from surgery.compare.adapter import extract_adapter, summary, write_extracted
from surgery.compare.diff import Diff
from surgery.compare.nearest import Nearest
from surgery.direction.direction import unit_direction, write_directions
from surgery.errors import DirectionError, OutputError


@dataclass(frozen=True)
class Wanted:
    """Where to write what was asked for; `rank` is that of the adapter, a number or `auto`."""

    direction: Path | None
    html: Path | None
    markdown: Path | None
    adapter: Path | None
    rank: str


@dataclass(frozen=True)
class Seen:
    """A comparison, under the names that were given, and what its direction is close to."""

    before: str
    after: str
    diff: Diff
    nearest: tuple[Nearest, ...]
    cosines: dict[str, tuple[float, ...]]


def check_files(wanted: Wanted) -> None:
    """Say before anything is compared that what was asked for cannot be written.

    Raises:
        OutputError: a folder is missing, or something stands there.
    """
    if wanted.rank != "auto" and not (wanted.rank.isdigit() and int(wanted.rank) > 0):
        raise click.UsageError(
            f"--rank: expected auto or a whole number of at least 1, found {wanted.rank!r}"
        )
    if wanted.adapter is not None:
        check_absent(absolute(wanted.adapter))
    for file in (wanted.direction, wanted.html, wanted.markdown):
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            why = "is a folder" if file.is_dir() else f"there is no folder {file.parent} to write it into"
            raise OutputError(f"{file}: {why}; name another file, or make that folder first")


def write_files(seen: Seen, wanted: Wanted) -> Iterator[str]:
    """Write them; yields what is to be said of them.

    Raises:
        DirectionError: there is no shared direction to save.
        EditError: the change is not what an adapter can express.
        OutputError: the disk does not take one of them; nothing of that one is left.
    """
    if wanted.direction is not None:
        with _whole(wanted.direction) as file:
            _save(seen, file)
    if wanted.html is not None:
        from surgery.report.diff_page import render_diff_page

        page = render_diff_page(seen.diff, seen.nearest, seen.cosines, names=(seen.before, seen.after))
        with _whole(wanted.html) as file:
            file.write_text(page, encoding="utf-8")
    if wanted.markdown is not None:
        with _whole(wanted.markdown) as file:
            _summarise(seen, file)
    if wanted.adapter is not None:
        adapter = extract_adapter(seen.diff, None if wanted.rank == "auto" else int(wanted.rank))
        with new_folder(wanted.adapter, needed_bytes=adapter.n_bytes) as folder:
            write_extracted(adapter, folder, base=seen.before)
            _summarise(seen, folder / "README.md")
        yield f"{wanted.adapter}: " + "; ".join(summary(adapter))


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A hidden file beside `target` that becomes it when the block ends well, and is removed when not."""
    part = target.with_name(f".{target.name}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        why = error.strerror or str(error)
        raise OutputError(
            f"{target}: cannot be written ({why}); free some space or name another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _summarise(seen: Seen, file: Path) -> None:
    from surgery.report.diff_page import render_diff_summary

    file.write_text(render_diff_summary(seen.diff, seen.nearest, seen.cosines), encoding="utf-8")


def _save(seen: Seen, path: Path) -> None:
    part = seen.diff.verdict.ablation
    if part is None or part.shared is None:
        raise DirectionError(
            f"{seen.after}: no direction is shared by what changed, so there is none to save"
        )
    origin = {"find": "weight_difference", "verdict": part.kind, "agreement": part.facts["agreement"]}
    write_directions(
        path,
        {
            "direction" if number == 0 else f"direction{number + 1}": unit_direction(row, origin=origin)
            for number, row in enumerate(part.shared.vectors)
        },
    )
