"""Reading and writing at given bytes of an open file, to the last byte asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from surgery.errors import CheckpointError


class _Ended(CheckpointError):
    """A file ended before what was asked of it."""

    def __init__(self, descriptor: int, position: int) -> None:
        self.descriptor, self.position = descriptor, position
        super().__init__(f"a file became shorter while it was read (at byte {position:,})")


@contextmanager
def open_to_read(path: Path) -> Iterator[int]:
    """A file descriptor opened for reading only.

    Raises:
        CheckpointError: the file ended before what the block read of it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    except _Ended as error:
        if error.descriptor != descriptor:
            raise
        raise CheckpointError(
            f"{path}: became shorter while it was read (at byte {error.position:,}); leave it as it is until"
            " the run has ended, and run again"
        ) from error
    finally:
        os.close(descriptor)


def read_into(descriptor: int, view: memoryview, offset: int) -> None:
    """Fill a buffer from a file, starting at byte `offset`.

    Raises:
        CheckpointError: the file ends first.
    """
    done = 0
    while done < len(view):
        got = os.preadv(descriptor, [view[done:]], offset + done)
        if got == 0:
            raise _Ended(descriptor, offset + done)
        done += got


def write_from(descriptor: int, view: memoryview, offset: int) -> None:
    """Write a whole buffer to a file, starting at byte `offset`."""
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
