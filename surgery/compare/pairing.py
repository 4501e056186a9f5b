"""Which tensors and files of two checkpoints belong together, from headers and folder listings alone.

Tensors pair by name, whatever file they stand in. Side files are compared whole; those that hold text are
shown as the lines that differ.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from surgery.checkpoint.hashes import same_file
from surgery.checkpoint.header import TensorEntry
from surgery.checkpoint.layout import INDEX_FILE, Checkpoint
from surgery.checkpoint.pair import Shifted, Slot, slot_of

FileStatus = Literal["changed", "added", "removed"]
_TEXT_BYTES = 1 << 18
_SHOWN_LINES = 40
_OURS = ("README.md", INDEX_FILE, "SHA256SUMS")
"""Files whose change says nothing about the model: its card, its index, its checksums."""


@dataclass(frozen=True)
class Pair:
    """One tensor in both checkpoints."""

    name: str
    before: Slot
    after: Slot

    @property
    def retyped(self) -> bool:
        return not self.worked_out and self.before.entry.dtype != self.after.entry.dtype

    @property
    def worked_out(self) -> bool:
        """Whether the second is the first with an adapter merged, which is nowhere on disk."""
        return isinstance(self.after, Shifted)

    @property
    def reshaped(self) -> bool:
        return self.before.entry.shape != self.after.entry.shape

    @property
    def moved(self) -> bool:
        """Whether it stands in another file."""
        return self.before.path.name != self.after.path.name


@dataclass(frozen=True)
class Pairing:
    """`pairs` in the order of the first checkpoint's files; the rest by name."""

    pairs: tuple[Pair, ...]
    added: tuple[TensorEntry, ...]
    removed: tuple[TensorEntry, ...]


@dataclass(frozen=True)
class FileChange:
    """A file beside the weights that differs. `lines` are those that do, empty where it is no text."""

    name: str
    status: FileStatus
    lines: tuple[str, ...] = ()

    @property
    def matters(self) -> bool:
        """Whether the model itself may behave differently for it."""
        return self.name not in _OURS


def pair_tensors(before: Checkpoint, after: Checkpoint) -> Pairing:
    """Pair the tensors of two checkpoints."""
    pairs = tuple(
        Pair(name, slot_of(before, name), slot_of(after, name))
        for name in before.tensors
        if name in after.tensors
    )
    return Pairing(
        pairs,
        added=tuple(entry for name, entry in after.tensors.items() if name not in before.tensors),
        removed=tuple(entry for name, entry in before.tensors.items() if name not in after.tensors),
    )


def compare_files(before: Checkpoint, after: Checkpoint) -> tuple[FileChange, ...]:
    """What differs beside the weights, by name."""
    old, new = set(before.side_files), set(after.side_files)
    changes = [FileChange(name, "removed") for name in old - new]
    changes += [FileChange(name, "added") for name in new - old]
    for name in old & new:
        first, second = before.folder / name, after.folder / name
        if not same_file(first, second):
            changes.append(FileChange(name, "changed", _text_diff(first, second)))
    return tuple(sorted(changes, key=lambda change: change.name))


def config_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys of config.json that say something else, with both values; None where a key is missing."""
    return {
        key: (before.get(key), after.get(key))
        for key in sorted(set(before) | set(after))
        if before.get(key) != after.get(key)
    }


def _text_diff(first: Path, second: Path) -> tuple[str, ...]:
    if max(first.stat().st_size, second.stat().st_size) > _TEXT_BYTES:
        return ()
    try:
        before, after = (_readable(path) for path in (first, second))
    except UnicodeDecodeError:
        return ()
    lines = [
        line.rstrip("\n")
        for line in difflib.unified_diff(before, after, n=0, lineterm="")
        if not line.startswith(("---", "+++", "@@"))
    ]
    if len(lines) > _SHOWN_LINES:
        return (*lines[:_SHOWN_LINES], f"… and {len(lines) - _SHOWN_LINES} more lines")
    return tuple(lines)


def _readable(path: Path) -> list[str]:
    """Lines of a text; JSON in one canonical layout, so that only its content counts."""
    text = path.read_bytes().decode("utf-8")
    if path.suffix == ".json":
        with suppress(ValueError):
            text = json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False)
    return text.splitlines()
