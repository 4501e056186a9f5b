"""Walking over one tensor of a file in tiles, in buffers that are used again.

A tensor is seen as matrices with the residual axis first (`outer` of them, each (d_model, inner), its columns
independent) or, where that axis is the last one, as `outer` rows of length d_model. Tiles have a fixed size
and order, whatever the number of workers, so the sums and with them the bytes are always the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from surgery.checkpoint.descriptor import read_into, write_from
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.scales import BlockScales, read_scales
from surgery.checkpoint.tensor import byte_view, torch_dtype
from surgery.edit.plan import TensorEdit

TILE_ELEMENTS = 1 << 19
"""Large enough that workers seldom wait for the interpreter's lock, small enough for a core's own cache."""
STRIP_ELEMENTS = 1 << 21


@dataclass(frozen=True)
class Tile:
    """`count` whole lines from `first` on, at byte `offset`; a line is a row of d_model, or one coordinate's
    `inner` entries.
    """

    first: int
    count: int
    offset: int


@dataclass(frozen=True)
class Strip:
    """Columns [first, first + count) of one (d_model, inner) matrix that begins at byte `offset`."""

    first: int
    count: int
    offset: int


@dataclass(frozen=True)
class Layout:
    """How the tensor lies in the file: `outer` × `d_model` × `inner` elements from byte `start` on, in the
    result `shift` bytes further on.
    """

    outer: int
    d_model: int
    inner: int
    start: int
    dtype: torch.dtype
    scales: BlockScales | None = None
    shift: int = 0

    @property
    def by_rows(self) -> bool:
        """Whether the residual axis is the one that runs fastest."""
        return self.inner == 1

    @property
    def wide(self) -> torch.dtype:
        """The type that arithmetic runs in."""
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def line(self) -> int:
        """Entries of one line."""
        return self.d_model if self.by_rows else self.inner

    def matrices(self) -> list[int]:
        """Byte offset of each matrix; rows count as one."""
        if self.by_rows:
            return [self.start]
        return [self.start + i * self.d_model * self.inner * self.dtype.itemsize for i in range(self.outer)]

    def tiles(self, offset: int, elements: int | None = None) -> Iterator[Tile]:
        """The tiles of the matrix at `offset`, of about `elements` entries each, in file order."""
        lines, length = (self.outer if self.by_rows else self.d_model), self.line
        at_once = max(1, (elements or TILE_ELEMENTS) // length)
        for first in range(0, lines, at_once):
            yield Tile(first, min(at_once, lines - first), offset + first * length * self.dtype.itemsize)

    def strips(self, offset: int) -> Iterator[Strip]:
        """The strips of whole columns of the matrix at `offset`, left to right."""
        at_once = max(1, STRIP_ELEMENTS // self.d_model)
        for first in range(0, self.inner, at_once):
            yield Strip(first, min(at_once, self.inner - first), offset)


class Buffers:
    """One worker's memory: raw bytes as stored and the same elements in a wide type."""

    def __init__(self) -> None:
        self._raw, self._wide = _Reused(), _Reused()

    def raw(self, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
        """A (rows, columns) tensor of the stored type; its content is left over from the last use."""
        return self._raw.matrix(rows, columns, dtype)

    def wide(self, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
        """A (rows, columns) tensor of the wide type; its content is left over from the last use."""
        return self._wide.matrix(rows, columns, dtype)


class _Reused:
    """Memory that grows to the largest matrix asked for, then stays. The last matrix is kept too: it is most
    often the next one, and each of the calls that make it gives the interpreter's lock away.
    """

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._last = self._bytes.view(0, 0)

    def matrix(self, rows: int, columns: int, dtype: torch.dtype) -> torch.Tensor:
        if self._last.shape != (rows, columns) or self._last.dtype != dtype:
            n_bytes = rows * columns * dtype.itemsize
            if self._bytes.numel() < n_bytes:
                self._bytes = torch.empty(n_bytes, dtype=torch.uint8)
            self._last = self._bytes[:n_bytes].view(dtype).view(rows, columns)
        return self._last


def layout_of(edit: TensorEdit, checkpoint: Checkpoint, *, shift: int = 0) -> Layout:
    """How the tensor of an edit lies in its file, with its scales where it has some; `shift` says how much
    further on it begins in the result.
    """
    axis = edit.residual_axis
    outer, inner = math.prod(edit.shape[:axis]), math.prod(edit.shape[axis + 1 :])
    scales = None if edit.scale is None else read_scales(edit.scale, checkpoint)
    return Layout(outer, edit.shape[axis], inner, edit.start, torch_dtype(edit.dtype), scales, shift)


def load_raw(source: int, layout: Layout, tile: Tile, buffers: Buffers, *, shift: int = 0) -> torch.Tensor:
    """Read a tile as it is stored, `shift` bytes further on: (count, d_model) by rows, else (count,
    inner).
    """
    raw = buffers.raw(tile.count, layout.line, layout.dtype)
    read_into(source, byte_view(raw), tile.offset + shift)
    return raw


def load_tile(source: int, layout: Layout, tile: Tile, buffers: Buffers) -> torch.Tensor:
    """Read a tile and widen it: (count, d_model) by rows, else (count, inner)."""
    return widened(load_raw(source, layout, tile, buffers), layout, tile, buffers, layout.wide)


def widened(
    raw: torch.Tensor, layout: Layout, tile: Tile, buffers: Buffers, dtype: torch.dtype
) -> torch.Tensor:
    """A stored tile in a wider type, times its scales."""
    wide = buffers.wide(raw.shape[0], raw.shape[1], dtype).copy_(raw)
    unit = tile_unit(layout, tile)
    return wide if unit is None else wide.mul_(unit)


def tile_unit(layout: Layout, tile: Tile) -> torch.Tensor | None:
    """What a stored 1 means in each place of a tile, broadcast; None where it means 1."""
    if layout.scales is None:
        return None
    return layout.scales.part(slice(tile.first, tile.first + tile.count), slice(0, layout.line))


def strip_unit(layout: Layout, strip: Strip) -> torch.Tensor | None:
    """What a stored 1 means in each place of a strip, broadcast; None where it means 1."""
    if layout.scales is None:
        return None
    return layout.scales.part(slice(0, layout.d_model), slice(strip.first, strip.first + strip.count))


def store_tile(target: int, layout: Layout, tile: Tile, rounded: torch.Tensor, buffers: Buffers) -> None:
    """Write a tile; a wide one is rounded to nearest on the way (without scales: see `round_feedback`)."""
    raw = buffers.raw(rounded.shape[0], rounded.shape[1], layout.dtype)
    raw.copy_(rounded)
    write_from(target, byte_view(raw), tile.offset + layout.shift)


def load_strip(source: int, layout: Layout, strip: Strip, buffers: Buffers) -> torch.Tensor:
    """Read a strip of whole columns and widen it: (d_model, count)."""
    raw = buffers.raw(layout.d_model, strip.count, layout.dtype)
    for offset, line in _strip_lines(layout, strip, raw):
        read_into(source, line, offset)
    wide = buffers.wide(layout.d_model, strip.count, layout.wide).copy_(raw)
    unit = strip_unit(layout, strip)
    return wide if unit is None else wide.mul_(unit)


def store_strip(target: int, layout: Layout, strip: Strip, rounded: torch.Tensor) -> None:
    """Write a strip that has been rounded already."""
    for offset, line in _strip_lines(layout, strip, rounded):
        write_from(target, line, offset + layout.shift)


@contextmanager
def steady_arithmetic() -> Iterator[None]:
    """One torch thread and full float32 products inside the block: the bytes depend on neither setting."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


def _strip_lines(layout: Layout, strip: Strip, matrix: torch.Tensor) -> Iterator[tuple[int, memoryview]]:
    size = layout.dtype.itemsize
    view, width = byte_view(matrix), strip.count * size
    for i in range(layout.d_model):
        yield strip.offset + (i * layout.inner + strip.first) * size, view[i * width : (i + 1) * width]
