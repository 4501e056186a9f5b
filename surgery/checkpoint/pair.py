"""Two tensors of the same shape, read side by side: byte ranges compared, or tiles of both in a wide type.

Ranges may stand at different places of different files and in different types. Nothing but the tiles is ever
in memory; a thread's buffers are used again.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.descriptor import open_to_read, read_into
from surgery.checkpoint.hashes import same_range
from surgery.checkpoint.header import TensorEntry
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.numbers import Array, stored_type, wide_type, widen

TILE_ELEMENTS = 1 << 16
"""Elements a tile: both sides, as they are stored and widened, stay in a core's own cache."""


@dataclass(frozen=True)
class Slot:
    """Where one tensor stands."""

    path: Path
    entry: TensorEntry


@dataclass(frozen=True)
class Shifted(Slot):
    """A tensor that is only worked out: the one at this place, stored as `stored`, plus left @ right."""

    stored: str
    left: Array  # (lines, rank) float32
    right: Array  # (rank, length) float32


@dataclass(frozen=True)
class PairTile:
    """Lines `[first, first + n)` of both tensors; a line runs along the last axis, all others are flattened.

    The tiles are overwritten by the next step, and may be overwritten by whoever reads them.
    """

    first: int
    both: Array  # (2, n, length), before and after
    changed: int
    """How many elements differ, counted as they are stored; all of them where the types differ."""

    @property
    def before(self) -> Array:
        found: Array = self.both[0]
        return found

    @property
    def after(self) -> Array:
        found: Array = self.both[1]
        return found


def slot_of(checkpoint: Checkpoint, name: str) -> Slot:
    """Where a tensor of a checkpoint stands.

    Raises:
        CheckpointError: it has no such tensor.
    """
    file, entry = checkpoint.entry(name)
    return Slot(checkpoint.folder / file, entry)


def read_slot(slot: Slot) -> Array:
    """A whole tensor as numbers, in its shape, float32 (float64 where it is stored so).

    Raises:
        CheckpointError: a type that holds no numbers, or a file that ends too early.
    """
    raw = np.empty(slot.entry.shape, stored_type(slot.entry.dtype))
    with open_to_read(slot.path) as file:
        read_into(file, raw.reshape(-1).view(np.uint8).data, slot.entry.start)
    found = np.empty(raw.shape, wide_type(slot.entry.dtype))
    widen(raw, slot.entry.dtype, found)
    return found


def same_bytes(first: Slot, second: Slot) -> bool:
    """Whether two ranges hold the same bytes; stops at the first difference."""
    one, other = first.entry, second.entry
    return first == second or (
        one.n_bytes == other.n_bytes
        and same_range(first.path, second.path, one.start, one.end, shift=other.start - one.start)
    )


def walk_pair(first: Slot, second: Slot, *, most_lines: int | None = None) -> Iterator[PairTile]:
    """Both tensors in tiles of whole lines, as float32 (float64 where one is stored so), in file order.

    The second may have more or fewer lines; the walk ends with the shorter one, or after `most_lines`.

    Raises:
        CheckpointError: a type that holds no numbers, or a file that ends too early.
    """
    lines, length = lines_of(first.entry.shape)
    lines = min(lines, lines_of(second.entry.shape)[0])
    lines = lines if most_lines is None else min(lines, most_lines)
    shifted = second if isinstance(second, Shifted) else None
    dtypes = first.entry.dtype, second.entry.dtype if shifted is None else shifted.stored
    tiles = _Tiles(dtypes, max(1, min(lines, TILE_ELEMENTS // max(length, 1))), length)
    with open_to_read(first.path) as left, open_to_read(second.path) as right:
        for start in range(0, lines if length else 0, tiles.count):
            if start + tiles.count > lines:
                tiles = _Tiles(dtypes, lines - start, length)
            for side, (file, slot) in enumerate(((left, first), (right, second))):
                raw = tiles.raws[side]
                read_into(file, tiles.views[side], slot.entry.start + start * length * raw.itemsize)
                widen(raw, dtypes[side], tiles.sides[side])
            if shifted is not None:
                tiles.sides[1][:] += shifted.left[start : start + tiles.count] @ shifted.right
            changed = tiles.both[0].size if shifted is not None else tiles.count_changed()
            yield PairTile(start, tiles.both, changed)


def lines_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many lines a tensor has, and how long they are; a vector is one line."""
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)


def by_matrix(first: int, count: int, d: int) -> Iterator[tuple[int, int, slice]]:
    """Lines [first, first + count) of stacked matrices of d lines each, as (matrix, row in it, ours)."""
    done = 0
    while done < count:
        matrix, row = divmod(first + done, d)
        part = min(count - done, d - row)
        yield matrix, row, slice(done, done + part)
        done += part


_local = threading.local()


def _scratch(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    # Buffers live as long as their thread: fresh memory costs more than what is done in it.
    n_bytes = math.prod(shape) * dtype.itemsize
    held: npt.NDArray[np.uint8] | None = getattr(_local, name, None)
    if held is None or held.size < n_bytes:
        held = np.empty(n_bytes, dtype=np.uint8)
        setattr(_local, name, held)
    return held[:n_bytes].view(dtype).reshape(shape)


class _Tiles:
    """The buffers of tiles of `count` lines: both sides as they are stored, and widened."""

    def __init__(self, dtypes: tuple[str, str], count: int, length: int) -> None:
        self.count, shape = count, (count, length)
        self.both: Array = _scratch("wide", (2, *shape), wide_type(*dtypes))
        self.sides = self.both[0], self.both[1]
        self.raws = [_scratch(f"raw{side}", shape, stored_type(each)) for side, each in enumerate(dtypes)]
        self.views = [each.data.cast("B") for each in self.raws]
        self._differs = _scratch("differs", shape, np.dtype(np.bool_))
        bits = np.dtype(f"u{self.raws[0].itemsize}")
        one, other = self.raws
        self._bits = (one.view(bits), other.view(bits)) if dtypes[0] == dtypes[1] else None

    def count_changed(self) -> int:
        """How many elements differ as they are stored; all of them where the types differ."""
        if self._bits is None:
            return self._differs.size
        np.not_equal(self._bits[0], self._bits[1], out=self._differs)
        return int(np.count_nonzero(self._differs))
