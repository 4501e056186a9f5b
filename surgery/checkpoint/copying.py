"""Copying byte ranges between files by the shortest way the system offers.

`copy_file_range` lets the kernel copy, or share the blocks where the file system can; `sendfile` copies
inside the kernel; reading and writing always works.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from surgery.checkpoint.tensor import open_to_read, read_into, write_from

_PIECE_BYTES = 8 << 20
_NOT_HERE = {
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EBADF,
    errno.ETXTBSY,
}

Copier = Callable[[int, int, int, int], int]


def copy_range(source: Path, target: Path, start: int, end: int) -> None:
    """Copy bytes `[start, end)` of `source` to the same place in `target`, which must exist.

    Raises:
        CheckpointError: the source ends before `end`.
        OSError: the target cannot take them (a full disk).
    """
    out = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with open_to_read(source) as descriptor:
            position = start
            for copier in _copiers():
                position = _copy_with(copier, descriptor, out, position, end)
            _copy_by_hand(descriptor, out, position, end)
    finally:
        os.close(out)


def create_file(path: Path, size: int) -> None:
    """Make a new file of `size` bytes, with the permissions that the umask leaves, and its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.truncate(descriptor, size)
    finally:
        os.close(descriptor)


def _copiers() -> list[Copier]:
    available: list[Copier] = []
    if hasattr(os, "copy_file_range"):
        available.append(_kernel_copy)
    if hasattr(os, "sendfile"):
        available.append(_send)
    return available


def _copy_with(copier: Copier, source: int, target: int, position: int, end: int) -> int:
    """How far one way of copying came: to `end`, or to where the system did not offer it."""
    while position < end:
        try:
            done = copier(source, target, position, end - position)
        except OSError as error:
            if error.errno in _NOT_HERE:
                return position
            raise
        if done == 0:
            return position
        position += done
    return position


def _kernel_copy(source: int, target: int, position: int, size: int) -> int:
    return os.copy_file_range(source, target, size, position, position)


def _send(source: int, target: int, position: int, size: int) -> int:
    os.lseek(target, position, os.SEEK_SET)
    return os.sendfile(target, source, position, size)


def _copy_by_hand(source: int, target: int, position: int, end: int) -> None:
    buffer = memoryview(bytearray(min(_PIECE_BYTES, max(end - position, 0))))
    while position < end:
        piece = buffer[: min(len(buffer), end - position)]
        read_into(source, piece, position)
        write_from(target, piece, position)
        position += len(piece)
