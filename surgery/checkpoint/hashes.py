"""SHA-256 of files and of byte ranges inside them, and comparison of ranges, in bounded memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from surgery.errors import CheckpointError

CHUNK_BYTES = 4 << 20


def sha256_file(path: Path) -> str:
    """SHA-256 of a whole file, in hexadecimal."""
    return sha256_range(path, 0, path.stat().st_size)


def sha256_range(path: Path, start: int, end: int) -> str:
    """SHA-256 of the bytes `[start, end)` of a file, in hexadecimal.

    Raises:
        CheckpointError: the file ends before `end`.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        position = start
        while position < end:
            chunk = os.pread(file.fileno(), min(CHUNK_BYTES, end - position), position)
            if not chunk:
                raise CheckpointError(f"{path}: ends at byte {position:,}, before {end:,}")
            digest.update(chunk)
            position += len(chunk)
    return digest.hexdigest()


def same_range(first: Path, second: Path, start: int, end: int) -> bool:
    """Whether two files hold the same bytes in `[start, end)`; a file that ends sooner does not."""
    with first.open("rb", buffering=0) as one, second.open("rb", buffering=0) as other:
        position = start
        while position < end:
            size = min(CHUNK_BYTES, end - position)
            chunk = os.pread(one.fileno(), size, position)
            if not chunk or chunk != os.pread(other.fileno(), len(chunk), position):
                return False
            position += len(chunk)
    return True


def same_file(first: Path, second: Path) -> bool:
    """Whether two files hold the same bytes."""
    size = first.stat().st_size
    return second.stat().st_size == size and same_range(first, second, 0, size)
