"""Measuring one edited tensor from disk, in float64 and independently of the arithmetic that wrote it.

Two passes: qᵀW of the source, then source and result side by side. The second works out what each element
should be, e = w − Σ λ_i q_i (q_iᵀ W), and how many steps of the stored type the written one is away from it,
beyond what float32 arithmetic explains:

    off_by = max (|w' − e| − 8 ε max|w|) / step(e)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from surgery.checkpoint.tensor import open_to_read
from surgery.edit.plan import TensorEdit
from surgery.edit.tiles import Buffers, Layout, Tile, layout_of, load_tile

Array = npt.NDArray[np.float64]

_SLACK = 8.0
_EXPONENT_BITS = 0x7FF0000000000000
_TILE_ELEMENTS = 1 << 17


@dataclass(frozen=True)
class Components:
    """`along` is qᵀW, (k, everything else); `weight` is Σ q_i² w_ij², the scale of rounding along q."""

    along: Array
    weight: float


@dataclass(frozen=True)
class Comparison:
    """`before` and `after` are qᵀW of source and result; `off_by` is in steps of the stored type."""

    before: Components
    after: Array
    off_by: float
    finite: bool


def compare_tensor(source: Path, result: Path, edit: TensorEdit, basis: Array) -> Comparison:
    """Measure what became of one tensor; `basis` holds its orthonormal rows (k, d_model)."""
    layout, q = layout_of(edit), torch.from_numpy(basis)
    before = _components(source, layout, q)
    scaled = torch.from_numpy(before.along) * torch.tensor(edit.strengths, dtype=torch.float64)[:, None]
    buffers, parts, off_by, finite = Buffers(), [], 0.0, True
    with open_to_read(source) as old, open_to_read(result) as new:
        for index, offset in enumerate(layout.matrices()):
            total = _empty(layout, q)
            for tile in layout.tiles(offset, _TILE_ELEMENTS):
                wanted = load_tile(old, layout, tile, buffers).double()
                slack = _SLACK * torch.finfo(layout.wide).eps * float(wanted.abs().max())
                wanted -= _removed(layout, tile, index, q, scaled)
                written = load_tile(new, layout, tile, buffers).double()
                total = _add(layout, total, _along(written, q, layout, tile))
                finite = finite and bool(torch.isfinite(written).all())
                off_by = max(off_by, _steps(written, wanted, layout.dtype, slack))
            parts.append(total)
    return Comparison(before, torch.cat(parts, 1).numpy(), off_by, finite)


def _components(path: Path, layout: Layout, q: torch.Tensor) -> Components:
    buffers, parts, weight = Buffers(), [], 0.0
    with open_to_read(path) as source:
        for offset in layout.matrices():
            total = _empty(layout, q)
            for tile in layout.tiles(offset, _TILE_ELEMENTS):
                lines = load_tile(source, layout, tile, buffers).double()
                total = _add(layout, total, _along(lines, q, layout, tile))
                weight += _weight(lines, q, layout, tile)
            parts.append(total)
    return Components(torch.cat(parts, 1).numpy(), weight)


def _empty(layout: Layout, q: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(q), 0 if layout.by_rows else layout.inner, dtype=torch.float64)


def _add(layout: Layout, total: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    return torch.cat([total, part], 1) if layout.by_rows else total + part


def _part(q: torch.Tensor, tile: Tile) -> torch.Tensor:
    return q[:, tile.first : tile.first + tile.count]


def _along(lines: torch.Tensor, q: torch.Tensor, layout: Layout, tile: Tile) -> torch.Tensor:
    return q @ lines.T if layout.by_rows else _part(q, tile) @ lines


def _weight(lines: torch.Tensor, q: torch.Tensor, layout: Layout, tile: Tile) -> float:
    if layout.by_rows:
        return float((q.square() @ lines.square().sum(0)).sum())
    return float((_part(q, tile).square() @ lines.square().sum(1)).sum())


def _removed(layout: Layout, tile: Tile, index: int, q: torch.Tensor, scaled: torch.Tensor) -> torch.Tensor:
    if layout.by_rows:
        return scaled[:, tile.first : tile.first + tile.count].T @ q
    return _part(q, tile).T @ scaled[:, index * layout.inner : (index + 1) * layout.inner]


def _steps(written: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype, slack: float) -> float:
    info = torch.finfo(dtype)
    binade = (wanted.view(torch.int64) & _EXPONENT_BITS).view(torch.float64)  # 2^⌊log2|e|⌋
    step = binade.mul_(info.eps).clamp_(min=info.smallest_normal * info.eps)
    return float(((written - wanted).abs_().sub_(slack) / step).max())
