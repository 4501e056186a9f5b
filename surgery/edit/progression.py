"""One file of the result: which of its ranges stand, and the hash that follows them.

A file is written range by range, in any order. A SHA-256 of the whole file follows the ranges in file order,
each read back from the target as soon as those before it stand, while it is still in memory. The header of a
weight file is written last, when every byte behind it has been flushed: before that the file begins with
zeros and nothing can load it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.checkpoint.copying import create_file
from surgery.checkpoint.folder import flush
from surgery.checkpoint.hashes import feed_range, same_range, sha256_file, sha256_range
from surgery.checkpoint.journal import Journal
from surgery.checkpoint.tensor import write_from
from surgery.edit.plan import TensorEdit

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Span:
    """Bytes `[start, end)` of a file, copied, or projected where there is an edit."""

    start: int
    end: int
    edit: TensorEdit | None = None

    @property
    def n_bytes(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Finished:
    """A file that stands: its SHA-256 and those of its edited tensors; None where hashing was off."""

    name: str
    sha256: str | None
    tensors: Mapping[str, str | None]


class Progression:
    """How far one file has come. Safe to use from several threads."""

    def __init__(
        self,
        name: str,
        folders: tuple[Path, Path],
        header: bytes,
        spans: Sequence[Span],
        journal: Journal | None = None,
    ) -> None:
        """`folders` are the source's and the result's; `spans` tile the file behind `header`."""
        self.name, self.spans = name, tuple(spans)
        self.source, self.target = (folder / name for folder in folders)
        self._header, self._journal = header, journal
        self._whole, self._entries = _entries_of(name, journal)
        self._stands = [False] * len(self.spans)
        self._next = 0
        self._busy = False
        self._mutex = threading.Lock()
        self._hash = hashlib.sha256(header)
        self._tensors: dict[str, str | None] = {}

    @property
    def n_bytes(self) -> int:
        """Length of the file behind its header."""
        return sum(span.n_bytes for span in self.spans)

    @property
    def _size(self) -> int:
        return len(self._header) + self.n_bytes

    @property
    def is_said_to_stand(self) -> bool:
        """Whether the journal says that an earlier run finished the whole file."""
        return self._whole is not None

    def take_over(self) -> Finished | None:
        """The file as an earlier run finished it, if its bytes are still those; else it is forgotten."""
        whole = self._whole
        if whole is not None and self.target.is_file() and sha256_file(self.target) == whole["sha256"]:
            return Finished(self.name, whole["sha256"], whole["tensors"])
        self._entries = {}
        return None

    def begin(self) -> None:
        """Make the file, or open what an earlier run left of it; either way it begins with zeros."""
        if self._entries and self.target.is_file() and self.target.stat().st_size == self._size:
            self._write_header(bytes(len(self._header)))
            return
        self._entries = {}
        self.target.unlink(missing_ok=True)
        create_file(self.target, self._size)

    def stands_already(self, span: Span) -> bool:
        """Whether an earlier run wrote this span: the journal says so and the bytes agree."""
        entry = self._entries.get((span.start, span.end))
        if entry is None:
            return False
        if span.edit is None:
            return same_range(self.source, self.target, span.start, span.end)
        return bool(sha256_range(self.target, span.start, span.end) == entry["sha256"])

    def finish(self, index: int, *, hashes: bool) -> Finished | None:
        """Note that one span stands, and hash on as far as there is no gap; the file itself where that was
        its last span.
        """
        with self._mutex:
            self._stands[index] = True
            if self._busy:
                return None
            self._busy = True
        while True:
            with self._mutex:
                complete = self._next == len(self.spans)
                if complete or not self._stands[self._next]:
                    self._busy = False
                    break
            self._follow(self.spans[self._next], hashes=hashes)
            self._next += 1
        return self.seal(hashes=hashes) if complete else None

    def seal(self, *, hashes: bool) -> Finished:
        """Write the header, now that all behind it stands."""
        if self._journal is not None:
            flush(self.target)
        self._write_header(self._header)
        sha256 = self._hash.hexdigest() if hashes else None
        if self._journal is not None:
            flush(self.target)
            self._journal.add(file=self.name, sha256=sha256, tensors=self._tensors)
        return Finished(self.name, sha256, self._tensors)

    def _follow(self, span: Span, *, hashes: bool) -> None:
        sha256 = None
        if hashes:
            own = hashlib.sha256() if span.edit is not None else None
            feed_range(
                self.target, span.start, span.end, *(each for each in (self._hash, own) if each is not None)
            )
            sha256 = None if own is None else own.hexdigest()
        if span.edit is not None:
            self._tensors[span.edit.tensor] = sha256
        if self._journal is not None:
            self._journal.add(file=self.name, start=span.start, end=span.end, sha256=sha256)

    def _write_header(self, header: bytes) -> None:
        descriptor = os.open(self.target, os.O_WRONLY | os.O_CLOEXEC)
        try:
            write_from(descriptor, memoryview(header), 0)
        finally:
            os.close(descriptor)


def _entries_of(name: str, journal: Journal | None) -> tuple[Entry | None, dict[tuple[int, int], Entry]]:
    """What a journal says of a whole file, and of its ranges; of several lines on the same the last holds."""
    entries = [entry for entry in (() if journal is None else journal.entries) if entry.get("file") == name]
    ranges = {(entry["start"], entry["end"]): entry for entry in entries if "start" in entry}
    return next((entry for entry in reversed(entries) if "tensors" in entry), None), ranges
