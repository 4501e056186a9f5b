"""A staging folder that outlives its process: what was written before a kill or a Ctrl-C is gone on with.

Beside a target `out` stand, while it is being written, the folder `.out.unfinished` and its journal
`.out.unfinished.jsonl`. The journal is made first and removed last:

    journal ─► folder ─► the work ─► flush ─► rename folder to target ─► remove journal

An interrupt (Ctrl-C, SIGTERM) and a kill leave both; every other failure removes them. Whoever comes next
either resumes, which is refused unless the work is the same, or is told that something stands there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.checkpoint.folder import (
    absolute,
    check_absent,
    check_space,
    discard,
    flush,
    make_folder,
    make_parents,
    publish,
    raise_explained,
)
from surgery.checkpoint.journal import Journal, create_journal, open_journal
from surgery.errors import OutputError


@dataclass(frozen=True)
class Staging:
    """Where a result is written, and the journal of what of it is finished."""

    folder: Path
    journal: Journal


def unfinished(target: Path) -> Path:
    """Where the unfinished result of a target stands while it is written."""
    target = absolute(target)
    return target.with_name(f".{target.name}.unfinished")


def check_startable(target: Path, *, resume: bool = False) -> None:
    """Refuse, before any work is done, a target that exists or that an earlier run left half written.

    Raises:
        OutputError: naming what stands there, and how to go on or start over; or no system takes the name.
    """
    check_absent(target)
    place = unfinished(target)
    try:
        is_begun = place.is_dir() and any(place.iterdir())
    except OSError as error:
        raise OutputError(f"{place}: cannot be looked up ({error.strerror}); name another place") from error
    if is_begun and not resume:
        raise OutputError(
            f"{place}: an earlier run of this output was stopped before its end; go on with it by --resume,"
            " or remove that folder to start over"
        )


@contextmanager
def resumable_folder(
    target: Path, *, needed_bytes: int, identity: Mapping[str, Any], resume: bool = False
) -> Iterator[Staging]:
    """Yield a staging folder that becomes `target` when the block ends without an exception.

    Args:
        target: the folder that will appear.
        needed_bytes: what will be written into it in all.
        identity: plain data that says which work this is; a resumed run must have the same.
        resume: whether to go on where an earlier run stopped; where none did, this starts anew.

    Raises:
        OutputError: the target exists, an unfinished one stands there and `resume` is off, it is of other
            work, another process is writing it, or there is not enough space.
    """
    target, place = absolute(target), unfinished(target)
    check_startable(target, resume=resume)
    check_space(target, needed_bytes - _present_bytes(place))
    made = make_parents(target)
    journal: Journal | None = None
    try:
        journal = _begin(place, identity, resume=resume)
        yield Staging(place, journal)
        publish(place, target)
        journal.path.unlink()
        flush(target.parent)
    except KeyboardInterrupt as error:
        if place.exists():
            error.add_note(
                f"stopped; what was written is kept in {place}: the same command with --resume goes on"
            )
        elif journal is not None:
            journal.path.unlink(missing_ok=True)
        raise
    except BaseException as error:
        if journal is not None:
            journal.path.unlink(missing_ok=True)
        if journal is not None or made:
            discard(place, made)
        raise_explained(error, place, target, needed_bytes)
    finally:
        if journal is not None:
            journal.close()


def _begin(place: Path, identity: Mapping[str, Any], *, resume: bool) -> Journal:
    path = place.with_name(place.name + ".jsonl")
    journal = open_journal(path) if resume else None
    if journal is not None:
        try:
            _check_same(place, journal.identity, identity)
        except OutputError:
            journal.close()
            raise
    elif place.is_dir() and any(place.iterdir()):
        raise OutputError(
            f"{place}: has no journal that says what of it is finished ({path.name}); remove the folder to"
            " start over"
        )
    else:
        journal = create_journal(path, identity)
    if not place.is_dir():
        make_folder(place)
    return journal


def _check_same(place: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    changed = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    if changed:
        raise OutputError(
            f"{place}: was begun with another {', another '.join(changed)}; going on would mix two results."
            " Run it as it was begun, or remove that folder to start over"
        )


def _present_bytes(place: Path) -> int:
    """What an unfinished folder takes on the disk already; holes in its files do not count."""
    if not place.is_dir():
        return 0
    return sum(path.lstat().st_blocks * 512 for path in place.rglob("*"))


def remove_strangers(folder: Path, known: frozenset[str]) -> None:
    """Remove every file under a folder whose path relative to it is not known, and folders left empty."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in known:
            path.unlink()
