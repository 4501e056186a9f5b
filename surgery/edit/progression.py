"""One file of the result: which of its ranges stand, and the hash that follows them.

A file is written range by range, in any order. Its SHA-256 follows the ranges in file order, each read back
from the target as soon as those before it stand, while it is still in memory. After each the journal gets
the hash of the file up to there: one pass over what an earlier run left tells how far it is right and takes
the hash along. The header of a weight file is written last, when every byte behind it has been flushed:
before that the file begins with zeros and nothing can load it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surgery.checkpoint.copying import create_file
from surgery.checkpoint.descriptor import write_from
from surgery.checkpoint.folder import begin_flush, flush
from surgery.checkpoint.hashes import feed_range, sha256_file
from surgery.checkpoint.journal import Journal
from surgery.edit.spans import Span


@dataclass(frozen=True)
class Finished:
    """A file that stands, and its SHA-256; None where hashing was off."""

    name: str
    sha256: str | None


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
        """`folders` are the source's and the result's; `spans` tile the file behind `header`; a
        file without spans is all header."""
        self.name, self.spans = name, tuple(spans)
        self.source, self.target = (folder / name for folder in folders)
        self._header, self._journal = header, journal
        self._whole, self._prefixes = _recorded(name, journal)
        self._stands = [False] * len(self.spans)
        self._next = 0
        self._busy = False
        self._mutex = threading.Lock()
        self._hash = hashlib.sha256(header)

    @property
    def n_bytes(self) -> int:
        """Length of the file behind its header."""
        return sum(span.n_bytes for span in self.spans)

    @property
    def n_standing(self) -> int:
        """How many spans, from the first on, stand."""
        return self._next

    @property
    def is_said_to_stand(self) -> bool:
        """Whether the journal says that an earlier run finished the whole file."""
        return self._whole is not None

    def take_over(self) -> Finished | None:
        """The file as an earlier run finished it, if its bytes are still those; else it is forgotten."""
        if self.target.is_file() and sha256_file(self.target) == self._whole:
            return Finished(self.name, self._whole)
        self._prefixes = {}
        return None

    def begin(self) -> None:
        """Make the file, or go through what an earlier run left of it; either way it begins with zeros."""
        size = len(self._header) + self.n_bytes
        if self._prefixes and self.target.is_file() and self.target.stat().st_size == size:
            self._write_header(bytes(len(self._header)))
            self._go_through()
            return
        self.target.unlink(missing_ok=True)
        create_file(self.target, size)

    def finish(self, index: int, *, hashes: bool) -> Finished | None:
        """Note that one span stands, and hash on as far as there is no gap; the file itself where that was
        its last span.
        """
        if self._journal is not None:
            begin_flush(self.target, self.spans[index].start, self.spans[index].end)
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
            self._journal.add(file=self.name, whole=sha256)
        return Finished(self.name, sha256)

    def _go_through(self) -> None:
        """Hash the file as far as it is what the journal says."""
        running = self._hash.copy()
        for index, span in enumerate(self.spans):
            if span.end not in self._prefixes:
                return
            feed_range(self.target, span.start, span.end, running)
            if running.hexdigest() != self._prefixes[span.end]:
                return
            self._hash, self._stands[index], self._next = running.copy(), True, index + 1

    def _follow(self, span: Span, *, hashes: bool) -> None:
        if hashes:
            feed_range(self.target, span.start, span.end, self._hash)
        if self._journal is not None:
            self._journal.add(file=self.name, end=span.end, sha256=self._hash.hexdigest())

    def _write_header(self, header: bytes) -> None:
        descriptor = os.open(self.target, os.O_WRONLY | os.O_CLOEXEC)
        try:
            write_from(descriptor, memoryview(header), 0)
        finally:
            os.close(descriptor)


def _recorded(name: str, journal: Journal | None) -> tuple[str | None, dict[int, str]]:
    """What a journal says of one file: the hash of all of it, and of it up to some bytes; the last line
    holds."""
    entries = [entry for entry in (() if journal is None else journal.entries) if entry.get("file") == name]
    prefixes = {entry["end"]: entry["sha256"] for entry in entries if "end" in entry}
    return next((entry["whole"] for entry in reversed(entries) if "whole" in entry), None), prefixes
