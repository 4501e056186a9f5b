"""Copying byte ranges between files by the shortest way the system offers.

A file system that can share blocks between files (btrfs, XFS) is asked to, for whole blocks (`FICLONERANGE`):
nothing is then copied at all. `copy_file_range` lets the kernel copy; `sendfile` copies inside the kernel;
reading and writing always works.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from surgery.checkpoint.descriptor import open_to_read, read_into, write_from

_PIECE_BYTES = 8 << 20
_NOT_HERE = {
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EBADF,
    errno.ETXTBSY,
    errno.ENOTTY,
}
_CLONE_RANGE = 0x4020940D  # FICLONERANGE in linux/fs.h
_BLOCK = 4096

Copier = Callable[[int, int, int, int, int], int]
"""(source, target, byte in the source, byte in the target, size) → bytes copied; 0 where it does not work."""


def copy_range(source: Path, target: Path, start: int, end: int, *, shift: int = 0) -> None:
    """Copy bytes `[start, end)` of `source` into `target`, which must exist, `shift` bytes further on.

    Raises:
        CheckpointError: the source ends before `end`.
        OSError: the target cannot take them (a full disk).
    """
    out = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        with open_to_read(source) as descriptor:
            for first, last in _not_shared(descriptor, out, start, end, shift):
                position = first
                for copier in _copiers():
                    position = _copy_with(copier, descriptor, out, (position, last), shift)
                _copy_by_hand(descriptor, out, (position, last), shift)
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


def _not_shared(source: int, target: int, start: int, end: int, shift: int) -> list[tuple[int, int]]:
    """Let the target share the source's blocks; the ranges that are left to copy."""
    low, high = -(-start // _BLOCK) * _BLOCK, end // _BLOCK * _BLOCK
    if low >= high or shift % _BLOCK:
        return [(start, end)]
    try:
        fcntl.ioctl(target, _CLONE_RANGE, struct.pack("=qQQQ", source, low, high - low, low + shift))
    except OSError as error:
        if error.errno in _NOT_HERE:
            return [(start, end)]
        raise
    return [(start, low), (high, end)]


def _copiers() -> list[Copier]:
    available: list[Copier] = []
    if hasattr(os, "copy_file_range"):
        available.append(_kernel_copy)
    if hasattr(os, "sendfile"):
        available.append(_send)
    return available


def _copy_with(copier: Copier, source: int, target: int, span: tuple[int, int], shift: int) -> int:
    """How far one way of copying came: to the end, or to where the system did not offer it."""
    position, end = span
    while position < end:
        try:
            done = copier(source, target, position, position + shift, end - position)
        except OSError as error:
            if error.errno in _NOT_HERE:
                return position
            raise
        if done == 0:
            return position
        position += done
    return position


def _kernel_copy(source: int, target: int, start: int, to: int, size: int) -> int:
    return os.copy_file_range(source, target, size, start, to)


def _send(source: int, target: int, start: int, to: int, size: int) -> int:
    os.lseek(target, to, os.SEEK_SET)
    return os.sendfile(target, source, start, size)


def _copy_by_hand(source: int, target: int, span: tuple[int, int], shift: int) -> None:
    position, end = span
    buffer = memoryview(bytearray(min(_PIECE_BYTES, max(end - position, 0))))
    while position < end:
        piece = buffer[: min(len(buffer), end - position)]
        read_into(source, piece, position)
        write_from(target, piece, position + shift)
        position += len(piece)
