"""What of a piece of work is finished, one line of JSON each, so that a killed process can be gone on with.

The first line says which work it is, each later one what has been done. Lines are appended whole; the last
one of a file that broke off in the middle of a line is passed over, so what is read back was written. A line
promises nothing about the disk: who goes on with the work checks what the line says against the bytes.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgery.errors import OutputError

Entry = Mapping[str, Any]


class Journal:
    """An open journal, locked against every other process. `entries` are those of earlier runs."""

    def __init__(self, path: Path, identity: Entry, entries: tuple[Entry, ...], descriptor: int) -> None:
        self.path = path
        self.identity = identity
        self.entries = entries
        self._descriptor = descriptor
        self._mutex = threading.Lock()

    def add(self, **entry: Any) -> None:
        """Append one line; any thread may."""
        with self._mutex:
            _append(self._descriptor, entry)

    def close(self) -> None:
        """Close the file and give up the lock."""
        os.close(self._descriptor)


def create_journal(path: Path, identity: Entry) -> Journal:
    """Begin a journal; one that stands there and names no work is taken over.

    Raises:
        OutputError: another process holds it.
    """
    descriptor = _open_locked(path, os.O_CREAT)
    os.ftruncate(descriptor, 0)
    _append(descriptor, identity)
    return Journal(path, identity, (), descriptor)


def open_journal(path: Path) -> Journal | None:
    """Open a journal to go on with it; None where it is missing or broke off before it named its work.

    Raises:
        OutputError: another process holds it.
    """
    if not path.is_file():
        return None
    descriptor = _open_locked(path, 0)
    lines = [_read_line(line) for line in path.read_bytes().split(b"\n")[:-1]]
    entries = [line for line in lines if line is not None]
    if not entries or lines[0] is None:
        os.close(descriptor)
        return None
    _end_line(descriptor)
    return Journal(path, entries[0], tuple(entries[1:]), descriptor)


def _open_locked(path: Path, flags: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutputError(
            f"{path}: another run is writing this result at this moment; wait for it, or name another folder"
        ) from None
    return descriptor


def _append(descriptor: int, entry: Entry) -> None:
    data = json.dumps(dict(entry), separators=(",", ":")).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


def _end_line(descriptor: int) -> None:
    """Close a line that broke off, so that the next one stands alone."""
    size = os.fstat(descriptor).st_size
    if os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")


def _read_line(line: bytes) -> Entry | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
