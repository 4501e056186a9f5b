"""Folders that appear whole or not at all.

A result is written into a staging folder beside its target, under a hidden name that says it is unfinished;
when all of it stands it is flushed to the disk and renamed. Whatever goes wrong before that, an exception or
a Ctrl-C, removes the staging folder and every parent folder that was made for it;
`surgery.checkpoint.staging` is the kind that survives a Ctrl-C or a kill and can be gone on with.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from surgery.errors import OutputError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EINVAL}
_RESERVE_BYTES = 1 << 20


@contextmanager
def new_folder(target: Path, *, needed_bytes: int) -> Iterator[Path]:
    """Yield an empty staging folder that becomes `target` when the block ends without an exception.

    `needed_bytes` is what will be written into it; it is compared with the free space before anything is
    made.

    Raises:
        OutputError: the target exists, its parent cannot be made or written, or there is not enough space, at
            the start or later.
    """
    target = absolute(target)
    check_absent(target)
    check_space(target, needed_bytes)
    made = make_parents(target)
    staging = target.with_name(f".{target.name}.unfinished-{os.getpid()}-{os.urandom(3).hex()}")
    try:
        make_folder(staging)
        yield staging
        publish(staging, target)
    except BaseException as error:
        discard(staging, made)
        raise_explained(error, staging, target, needed_bytes)


def absolute(path: Path) -> Path:
    """The path from the root on, links left as they are: `resolve()` would follow one standing at the
    target."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def flush_tree(folder: Path) -> None:
    """Force every file and folder under `folder` to the disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            flush(Path(root) / name)
        flush(Path(root))


def check_absent(target: Path) -> None:
    """Refuse a target that exists, so that a long run can do so before it begins.

    Raises:
        OutputError: something stands there, a broken link included.
    """
    if os.path.lexists(target):
        raise OutputError(
            f"{target}: already exists; nothing is ever overwritten: name another folder or remove this one"
        )


def check_space(target: Path, needed_bytes: int) -> None:
    """Refuse a target for which the disk has no room.

    Raises:
        OutputError: too little space is free, or a file stands where its parent should be.
    """
    place = target.parent
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise OutputError(f"{target}: cannot be made, since {place} is not a folder; name another place")
    free = shutil.disk_usage(place).free
    if needed_bytes + _RESERVE_BYTES > free:
        raise OutputError(
            f"{target}: needs {size_in_words(needed_bytes)} and {place} has {size_in_words(free)} free; free"
            " some space or name another place"
        )


def make_parents(target: Path) -> list[Path]:
    """Make the folders above a target; returns those that were not there, outermost first.

    Raises:
        OutputError: one cannot be made; those made before it are removed again.
    """
    missing = [place for place in (target.parent, *target.parent.parents) if not place.exists()]
    made: list[Path] = []
    for place in reversed(missing):
        try:
            make_folder(place)
        except OutputError:
            _remove_empty(made)
            raise
        made.append(place)
    return made


def make_folder(place: Path) -> None:
    """Make one folder.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        place.mkdir()
    except FileExistsError as error:
        raise OutputError(f"{place}: stands in the way and is not a folder; move it or remove it") from error
    except OSError as error:
        raise OutputError(
            f"{place}: cannot be made ({error.strerror}); check the permissions of {place.parent} or name"
            " another place"
        ) from error


def publish(staging: Path, target: Path) -> None:
    """Flush a folder to the disk and give it its name.

    Raises:
        OutputError: something stands there by now.
    """
    flush_tree(staging)
    check_absent(target)
    staging.rename(target)
    flush(target.parent)


def flush(path: Path) -> None:
    """Force one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_flush(path: Path, start: int, end: int) -> None:
    """Let the bytes `[start, end)` of a file be on their way to the disk while other work goes on, where the
    system can be told; `flush` then has less to wait for.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # What is not wanted in memory is written out first, and what is being written stays in memory.
        os.posix_fadvise(descriptor, start, end - start, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def discard(staging: Path, made: list[Path]) -> None:
    """Remove a staging folder, and the parents that were made for it as far as they are empty."""
    shutil.rmtree(staging, ignore_errors=True)
    _remove_empty(made)


def _remove_empty(made: list[Path]) -> None:
    for place in reversed(made):
        try:
            place.rmdir()
        except OSError:  # somebody else has put something there meanwhile
            return


def raise_explained(error: BaseException, staging: Path, target: Path, needed_bytes: int) -> NoReturn:
    """Raise an error again, as an `OutputError` where it is the disk's or the permissions' fault."""
    explanation = _explain(error, staging, target, needed_bytes) if isinstance(error, OSError) else None
    if explanation is None:
        raise error
    raise OutputError(explanation) from error


def _explain(error: OSError, staging: Path, target: Path, needed_bytes: int) -> str | None:
    reason = error.strerror or str(error)
    if error.errno in _NO_SPACE:
        return (
            f"{target}: the disk is full or a quota is reached ({reason}); {size_in_words(needed_bytes)} are"
            " needed. Nothing was left behind"
        )
    ours = error.filename is not None and str(error.filename).startswith(str(staging))
    if ours and error.errno in _NO_ACCESS:
        return f"{target}: cannot be written ({reason}); check its permissions. Nothing was left behind"
    return None


def size_in_words(n_bytes: int) -> str:
    """`1.2 MB`, in powers of ten."""
    for unit, width in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= width:
            return f"{n_bytes / width:.1f} {unit}"
    return f"{n_bytes} bytes"
