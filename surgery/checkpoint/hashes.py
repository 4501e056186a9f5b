"""SHA-256 of files and of byte ranges inside them, and comparison of ranges, in bounded memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from surgery.errors import CheckpointError

CHUNK_BYTES = 1 << 19
"""Bytes read at once: two such pieces stay in a core's own cache."""


class Digest(Protocol):
    """A running hash."""

    def update(self, data: memoryview, /) -> None: ...


def sha256_file(path: Path) -> str:
    """SHA-256 of a whole file, in hexadecimal."""
    return sha256_range(path, 0, path.stat().st_size)


def sha256_range(path: Path, start: int, end: int) -> str:
    """SHA-256 of the bytes `[start, end)` of a file, in hexadecimal.

    Raises:
        CheckpointError: the file ends before `end`.
    """
    digest = hashlib.sha256()
    feed_range(path, start, end, digest)
    return digest.hexdigest()


def feed_range(path: Path, start: int, end: int, digest: Digest) -> None:
    """Read the bytes `[start, end)` of a file and feed them to a digest.

    Raises:
        CheckpointError: the file ends before `end`.
    """
    buffer = memoryview(bytearray(min(CHUNK_BYTES, max(end - start, 0))))
    with path.open("rb", buffering=0) as file:
        position = start
        while position < end:
            got = os.preadv(file.fileno(), [buffer[: end - position]], position)
            if got == 0:
                raise CheckpointError(f"{path}: ends at byte {position:,}, before {end:,}")
            digest.update(buffer[:got])
            position += got


def same_range(first: Path, second: Path, start: int, end: int, *, shift: int = 0) -> bool:
    """Whether one file holds in `[start, end)` what the other holds `shift` bytes further on; a file that
    ends sooner does not.
    """
    # Two bytearrays of one length are compared by memcmp, the fastest comparison Python has.
    one, other = (bytearray(min(CHUNK_BYTES, max(end - start, 0))) for _ in range(2))
    with first.open("rb", buffering=0) as left, second.open("rb", buffering=0) as right:
        for position in range(start, end, CHUNK_BYTES):
            size = min(CHUNK_BYTES, end - position)
            del one[size:], other[size:]
            got = (
                os.preadv(left.fileno(), [one], position),
                os.preadv(right.fileno(), [other], position + shift),
            )
            if got != (size, size) or one != other:
                return False
    return True


def same_file(first: Path, second: Path) -> bool:
    """Whether two files hold the same bytes."""
    size = first.stat().st_size
    return second.stat().st_size == size and same_range(first, second, 0, size)
