"""Measuring one edited tensor from disk: what is left along the basis, and whether each element is the right
one.

Two passes over the source, one over the result. The components qᵀW and qᵀW' are sums in float64. Each element
should be e = w − Σ λ_i q_i (q_iᵀ W), times the factor of its column where columns keep their length, and the
written one is held to it in steps of the stored type, beyond what float32 arithmetic explains:

    off_by = max (|w' − e| − 8 ε max|w|) / step(e)

An element that equals e worked out in float32 and rounded (or, with feedback, its neighbour) is at most half
a step (one and a half) away; that settles nearly all of them at the speed of reading. A tile with any other
element is measured again in float64.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from surgery.checkpoint.descriptor import open_to_read
from surgery.checkpoint.tensor import byte_view
from surgery.edit.basis import Basis
from surgery.edit.plan import TensorEdit
from surgery.edit.tiles import TILE_ELEMENTS, Buffers, Layout, Tile, load_raw, tile_unit, widened
from surgery.linalg.projection import stretches
from surgery.linalg.rounding import round_nearest

Array = npt.NDArray[np.float64]

_SLACK = 8.0
_EXPONENT_BITS = 0x7FF0000000000000
_TILE_ELEMENTS = TILE_ELEMENTS // 2  # in float64: as many bytes as the executor's
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Components:
    """`along` is qᵀW, (k, everything else); `weight` is Σ q_i² w_ij², the scale of rounding along q;
    `squares` is Σ_i w_ij², (everything else,), where it was asked for; `sha256` is of the stored bytes.
    """

    along: Array
    weight: float
    squares: Array
    sha256: str


@dataclass(frozen=True)
class Comparison:
    """`before` and `after` are qᵀW of source and result; `stretch` is the factor that each column should have
    got; `off_by` bounds every element, in steps of the stored type; `sha256` is of the result's bytes.
    """

    before: Components
    after: Array
    stretch: Array
    off_by: float
    finite: bool
    sha256: str


def compare_tensor(
    source: Path, result: Path, edit: TensorEdit, basis: Basis, *, layout: Layout, neighbours: bool = False
) -> Comparison:
    """Measure what became of one tensor.

    Args:
        source: the file it was read from.
        result: the file it was written to.
        edit: which tensor.
        basis: what was taken out of it, and how much.
        layout: how it lies in both files.
        neighbours: whether an element may be the neighbour of the nearest one (feedback rounding).
    """
    q = torch.from_numpy(basis.rows)
    before = _components(source, layout, q, squares=edit.stretch is not None)
    strengths = torch.tensor(basis.strengths, dtype=torch.float64)
    along = torch.from_numpy(before.along)
    scaled = along * strengths[:, None]
    factors = torch.ones(along.shape[1], dtype=torch.float64)
    if edit.stretch is not None:
        factors = stretches(torch.from_numpy(before.squares), along, strengths, edit.stretch)
    old_buffers, new_buffers, parts, off_by = Buffers(), Buffers(), [], 0.0
    digest = hashlib.sha256()  # tiles come in file order, without a gap
    with open_to_read(source) as old, open_to_read(result) as new:
        for index, offset in enumerate(layout.matrices()):
            total = _empty(layout, q)
            for tile in layout.tiles(offset, _TILE_ELEMENTS):
                stored = load_raw(old, layout, tile, old_buffers)
                written = load_raw(new, layout, tile, new_buffers, shift=layout.shift)
                digest.update(byte_view(written))
                lines = widened(written, layout, tile, new_buffers, torch.float64)
                total = _add(layout, total, _along(lines, q, layout, tile))
                removed = _Removed(layout, tile, index, q, scaled, factors if edit.stretch else None)
                wanted = widened(stored, layout, tile, old_buffers, layout.wide)
                off, places = _glanced(wanted, written, removed, neighbours=neighbours)
                if off is None:
                    wanted = widened(stored, layout, tile, old_buffers, layout.wide)
                    off = _measured(wanted, written, removed, places)
                off_by = max(off_by, off)
            parts.append(total)
    after = torch.cat(parts, 1).numpy()
    finite = bool(np.isfinite(after).all())
    return Comparison(before, after, factors.numpy(), off_by, finite, digest.hexdigest())


def _components(path: Path, layout: Layout, q: torch.Tensor, *, squares: bool) -> Components:
    buffers, parts, sums, weight = Buffers(), [], [], 0.0
    digest = hashlib.sha256()
    with open_to_read(path) as source:
        for offset in layout.matrices():
            total, lengths = _empty(layout, q), _empty(layout, q[:1])
            for tile in layout.tiles(offset, _TILE_ELEMENTS):
                raw = load_raw(source, layout, tile, buffers)
                digest.update(byte_view(raw))
                lines = widened(raw, layout, tile, buffers, torch.float64)
                total = _add(layout, total, _along(lines, q, layout, tile))
                weight += _weight(lines, q, layout, tile)
                if squares:  # which the lines are by now
                    lengths = _add(layout, lengths, lines.sum(1 if layout.by_rows else 0)[None])
            parts.append(total)
            sums.append(lengths)
    along, columns = (torch.cat(each, 1).numpy() for each in (parts, sums))
    return Components(along, weight, columns[0], digest.hexdigest())


def _empty(layout: Layout, q: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(q), 0 if layout.by_rows else layout.inner, dtype=torch.float64)


def _add(layout: Layout, total: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    return torch.cat([total, part], 1) if layout.by_rows else total + part


def _part(q: torch.Tensor, tile: Tile) -> torch.Tensor:
    return q[:, tile.first : tile.first + tile.count]


def _along(lines: torch.Tensor, q: torch.Tensor, layout: Layout, tile: Tile) -> torch.Tensor:
    return q @ lines.T if layout.by_rows else _part(q, tile) @ lines


def _weight(lines: torch.Tensor, q: torch.Tensor, layout: Layout, tile: Tile) -> float:
    """Σ q² w² of a tile, which is squared in place."""
    return float(_along(lines.mul_(lines), q.square(), layout, tile).sum())


@dataclass(frozen=True)
class _Removed:
    """What the edit does to one tile: it takes Σ λ_i q_i (q_iᵀ W), and may stretch each column."""

    layout: Layout
    tile: Tile
    index: int
    q: torch.Tensor
    scaled: torch.Tensor
    stretch: torch.Tensor | None

    def take_from(self, lines: torch.Tensor) -> torch.Tensor:
        """Edit the lines in place, in their own type."""
        left, right = (each.to(lines.dtype) for each in self.factors())
        lines.addmm_(left.T, right, alpha=-1)
        return lines if self.stretch is None else lines.mul_(self.stretches(self.stretch).to(lines.dtype))

    def at(self, source: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """What becomes of the source's elements in some places, in float64."""
        left, right = self.factors()
        exact = source[rows, columns].double() - (left[:, rows] * right[:, columns]).sum(0)
        if self.stretch is None:
            return exact
        return exact * self.stretches(self.stretch).expand(source.shape)[rows, columns]

    def stretches(self, stretch: torch.Tensor) -> torch.Tensor:
        """The factors of the tile, as they multiply it."""
        if self.layout.by_rows:
            return stretch[self.tile.first : self.tile.first + self.tile.count, None]
        inner = self.layout.inner
        return stretch[None, self.index * inner : (self.index + 1) * inner]

    @property
    def most(self) -> float:
        """The largest of the factors, 1 at least."""
        return 1.0 if self.stretch is None else max(1.0, float(self.stretch.max()))

    def factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(k, lines) and (k, entries of a line) whose product it is."""
        if self.layout.by_rows:
            return self.scaled[:, self.tile.first : self.tile.first + self.tile.count], self.q
        inner = self.layout.inner
        return _part(self.q, self.tile), self.scaled[:, self.index * inner : (self.index + 1) * inner]


_Places = tuple[torch.Tensor, torch.Tensor]


def _glanced(
    wanted: torch.Tensor, written: torch.Tensor, removed: _Removed, *, neighbours: bool
) -> tuple[float | None, _Places]:
    """A bound on how far a tile is off, or None and the places that float32 cannot settle; `wanted` comes as
    the source holds it and is used up.
    """
    layout = removed.layout
    if layout.dtype == layout.wide:
        half = _SLACK / 2 * torch.finfo(layout.wide).eps * float(wanted.abs().max()) * removed.most
        off = removed.take_from(wanted).sub_(written).abs_()
        return (0.0, _nowhere()) if float(off.max()) <= half else (None, _where(~(off <= half)))
    rounded = round_nearest(removed.take_from(wanted), layout.dtype, tile_unit(layout, removed.tile))
    mine, theirs = (each.view(_INTEGERS[layout.dtype.itemsize]) for each in (rounded, written))
    if torch.equal(mine, theirs):
        return 0.5, _nowhere()
    if not neighbours:
        return None, _where(mine != theirs)
    apart = mine.sub_(theirs)
    low, high = torch.aminmax(apart)
    if int(low) >= -1 and int(high) <= 1:
        return 1.5, _nowhere()
    return None, _where((apart < -1) | (apart > 1))


def _measured(source: torch.Tensor, written: torch.Tensor, removed: _Removed, places: _Places) -> float:
    """How far some elements are off, in float64; the others of the tile are settled."""
    rows, columns = places
    unit = tile_unit(removed.layout, removed.tile)
    here = torch.ones(()) if unit is None else unit.expand(source.shape)[places]
    largest = float(source.abs().max()) * removed.most
    slack = _SLACK * torch.finfo(removed.layout.wide).eps * largest / here.double()
    info = torch.finfo(removed.layout.dtype)
    exact = removed.at(source, rows, columns) / here.double()
    wanted = exact.clamp_(info.min, info.max)
    binade = (wanted.view(torch.int64) & _EXPONENT_BITS).view(torch.float64)  # 2^⌊log2|e|⌋
    step = binade.mul_(info.eps).clamp_(min=info.smallest_normal * info.eps)
    found = _picked(written, places).double()
    settled = 0.5 if removed.layout.dtype != removed.layout.wide else 0.0
    return max(settled, float(((found - wanted).abs_().sub_(slack) / step).max()))


def _picked(written: torch.Tensor, places: _Places) -> torch.Tensor:
    # As integers: torch has no indexing of 8-bit floats.
    return written.view(_INTEGERS[written.dtype.itemsize])[places].view(written.dtype)


def _where(mask: torch.Tensor) -> _Places:
    rows, columns = mask.nonzero(as_tuple=True)
    return rows, columns


def _nowhere() -> _Places:
    return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
