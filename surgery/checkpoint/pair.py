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

import numpy as np
import torch

from surgery.checkpoint.header import TensorEntry
from surgery.checkpoint.tensor import byte_view, open_to_read, read_into, torch_dtype

COMPARE_BYTES = 1 << 18
TILE_ELEMENTS = 1 << 16


@dataclass(frozen=True)
class Slot:
    """Where one tensor stands."""

    path: Path
    entry: TensorEntry


@dataclass(frozen=True)
class Shifted(Slot):
    """A tensor that is only worked out: the one at this place, stored as `stored`, plus left @ right."""

    stored: str
    left: torch.Tensor  # (lines, rank) float32
    right: torch.Tensor  # (rank, length) float32


@dataclass(frozen=True)
class PairTile:
    """Lines `[first, first + n)` of both tensors; a line runs along the last axis, all others are flattened.

    The tiles are overwritten by the next step, and may be overwritten by whoever reads them.
    """

    first: int
    both: torch.Tensor  # (2, n, length), before and after
    changed: int
    """How many elements differ, counted as they are stored; all of them where the types differ."""

    @property
    def before(self) -> torch.Tensor:
        return self.both[0]

    @property
    def after(self) -> torch.Tensor:
        return self.both[1]


def same_bytes(first: Slot, second: Slot) -> bool:
    """Whether two ranges hold the same bytes; stops at the first difference.

    Raises:
        CheckpointError: a file ends too early.
    """
    size = first.entry.n_bytes
    if first == second:
        return True
    if second.entry.n_bytes != size:
        return False
    # Two bytearrays of one length are compared by memcmp, the fastest comparison Python has.
    one, other = (bytearray(min(COMPARE_BYTES, size)) for _ in range(2))
    with open_to_read(first.path) as left, open_to_read(second.path) as right:
        for done in range(0, size, COMPARE_BYTES):
            part = size - done
            if part < len(one):
                del one[part:], other[part:]
            read_into(left, memoryview(one), first.entry.start + done)
            read_into(right, memoryview(other), second.entry.start + done)
            if one != other:
                return False
    return True


def walk_pair(first: Slot, second: Slot, *, most_lines: int | None = None) -> Iterator[PairTile]:
    """Both tensors in tiles of whole lines, as float32 (float64 where one is stored so), in file order.

    The second may have more or fewer lines; the walk ends with the shorter one, or after `most_lines`.

    Raises:
        CheckpointError: a type that torch lacks, or a file that ends too early.
    """
    lines, length = lines_of(first.entry.shape)
    lines = min(lines, lines_of(second.entry.shape)[0])
    lines = lines if most_lines is None else min(lines, most_lines)
    shifted = second if isinstance(second, Shifted) else None
    stored = second.entry.dtype if shifted is None else shifted.stored
    dtypes = torch_dtype(first.entry.dtype), torch_dtype(stored)
    wide = torch.float64 if torch.float64 in dtypes else torch.float32
    at_once = max(1, TILE_ELEMENTS // max(length, 1))
    with open_to_read(first.path) as left, open_to_read(second.path) as right:
        for start in range(0, lines if length else 0, at_once):
            count = min(at_once, lines - start)
            both = _wide(count, length, wide)
            raws = [_raw(side, count, length, dtypes[side]) for side in range(2)]
            for side, (file, slot) in enumerate(((left, first), (right, second))):
                offset = slot.entry.start + start * length * raws[side].itemsize
                read_into(file, byte_view(raws[side]), offset)
                both[side].copy_(raws[side])
            if shifted is not None:
                both[1] += (shifted.left[start : start + count] @ shifted.right).to(wide)
            yield PairTile(start, both, count * length if shifted is not None else _count_changed(*raws))


def lines_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many lines a tensor has, and how long they are; a vector is one line."""
    return (math.prod(shape[:-1]), shape[-1]) if shape else (1, 1)


_local = threading.local()


def _scratch(name: str, n_bytes: int) -> np.ndarray:
    # Buffers live as long as their thread: fresh memory costs more than what is done in it.
    held = getattr(_local, name, None)
    if held is None or held.size < n_bytes:
        held = np.empty(n_bytes, dtype=np.uint8)
        setattr(_local, name, held)
    return held


def _wide(count: int, length: int, dtype: torch.dtype) -> torch.Tensor:
    size = 2 * count * length * dtype.itemsize
    return torch.from_numpy(_scratch("wide", size)[:size]).view(dtype).view(2, count, length)


def _raw(side: int, count: int, length: int, dtype: torch.dtype) -> torch.Tensor:
    size = count * length * dtype.itemsize
    return torch.from_numpy(_scratch(f"raw{side}", size)[:size]).view(dtype).view(count, length)


def _count_changed(one: torch.Tensor, other: torch.Tensor) -> int:
    if one.dtype != other.dtype:
        return one.numel()
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.itemsize]
    differs = _scratch("differs", one.numel())[: one.numel()].view(np.bool_).reshape(one.shape)
    np.not_equal(one.view(bits).numpy(), other.view(bits).numpy(), out=differs)
    return int(np.count_nonzero(differs))
