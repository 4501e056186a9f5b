"""What a matrix on disk holds along a basis, measured in float64."""

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


@dataclass(frozen=True)
class Components:
    """`along` is qᵀW, (k, everything else); `weight` Σ q_i² w_ij² per direction, (k,), which scales rounding noise."""

    along: Array
    weight: Array
    finite: bool


def measure_components(path: Path, edit: TensorEdit, basis: Array) -> Components:
    """Measure one tensor of a file along orthonormal rows (k, d_model)."""
    layout, q, buffers = layout_of(edit), torch.from_numpy(basis), Buffers()
    parts: list[torch.Tensor] = []
    weight = torch.zeros(len(q), dtype=torch.float64)
    finite = True
    with open_to_read(path) as source:
        for offset in layout.matrices():
            total = torch.zeros(len(q), 0 if layout.by_rows else layout.inner, dtype=torch.float64)
            for tile in layout.tiles(offset):
                lines = load_tile(source, layout, tile, buffers).double()
                finite = finite and bool(torch.isfinite(lines).all())
                along, squares = _along(lines, q, layout, tile)
                total = torch.cat([total, along], 1) if layout.by_rows else total + along
                weight += squares
            parts.append(total)
    return Components(torch.cat(parts, 1).numpy(), weight.numpy(), finite)


def _along(lines: torch.Tensor, q: torch.Tensor, layout: Layout, tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
    if layout.by_rows:
        return q @ lines.T, q.square() @ lines.square().sum(0)
    part = q[:, tile.first : tile.first + tile.count]
    return part @ lines, part.square() @ lines.square().sum(1)
