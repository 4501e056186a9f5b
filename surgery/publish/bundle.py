"""What is handed on: files with their hashes, their card, their manifest, and what speaks against it.

A problem stops an upload that is not forced, a note is worth knowing. Card and manifest may differ from those
on the disk: the card that is sent names the repository it is sent to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.checkpoint.hashes import feed_range, sha256_file
from surgery.checkpoint.sums import SUMS_FILE, sums_text
from surgery.publish.metadata import CARD, card_fields

LAST = (CARD, SUMS_FILE)
"""Sent after all else, so that no card and no manifest speaks of what is not there."""
_PLACE = '"path/to/this/folder"'


@dataclass(frozen=True)
class LocalFile:
    """One file to send: a path, or the bytes themselves where they stand in no file."""

    content: Path | bytes
    size: int
    sha256: str

    @property
    def blob_sha1(self) -> str:
        """The hash that git gives the content: SHA-1 of `blob <size>\\0` and the bytes."""
        digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        if isinstance(self.content, bytes):
            digest.update(self.content)
        else:
            feed_range(self.content, 0, self.size, digest)
        return digest.hexdigest()


@dataclass(frozen=True)
class Bundle:
    """What would be sent, by its path in the repository; `identity` is the SHA-256 of the manifest.

    Attributes:
        kind: what it is, in a word or two: `result`, `adapter`, `dictionary`, `directions`.
        base: the Hub id of the base model; None where it is a folder, the embedded model, or not known.
    """

    folder: Path
    kind: str
    files: Mapping[str, LocalFile]
    card: str
    fields: Mapping[str, Any]
    base: str | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def identity(self) -> str:
        return self.files[SUMS_FILE].sha256

    @property
    def n_bytes(self) -> int:
        return sum(each.size for each in self.files.values())


def on_disk(path: Path, sha256: str | None = None) -> LocalFile:
    """A file as it stands; `sha256` where its hash is known already."""
    return LocalFile(path, path.stat().st_size, sha256 or sha256_file(path))


def in_memory(text: str) -> LocalFile:
    """A text as a file."""
    data = text.encode("utf-8")
    return LocalFile(data, len(data), hashlib.sha256(data).hexdigest())


def make_bundle(
    folder: Path,
    kind: str,
    files: Mapping[str, LocalFile],
    card: str,
    *,
    name: str,
    base: str | None = None,
    listed: Mapping[str, str] | None = None,
    problems: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Bundle:
    """The files with their card as it reads in the repository `name`, and their manifest.

    `listed` is the manifest that stands beside them: of it only the card's line changes, so that a file that
    is not as it was listed does not become so by being sent.
    """
    card = card.replace(_PLACE, json.dumps(name))
    whole = {**files, CARD: in_memory(card)}
    if SUMS_FILE not in files or CARD not in files or whole[CARD].sha256 != files[CARD].sha256:
        sums = listed or {path: each.sha256 for path, each in whole.items()}
        whole[SUMS_FILE] = in_memory(sums_text({**sums, CARD: whole[CARD].sha256}))
    ordered = {path: whole[path] for path in sorted(whole)}
    return Bundle(folder, kind, ordered, card, card_fields(card), base, problems, notes)
