"""The scales of an FP8 matrix: what a stored 1 means, block by block.

They are kept as they are. Fresh scales for the projected matrix leave as much of the direction (0.26 of it
with nearest rounding, 1e-5 with feedback, either way; 2048×4096 normal weights in 128×128 blocks) and would
change every element and a second tensor, which may stand in another shard.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.quantisation import Scale
from surgery.checkpoint.tensor import read_tensor
from surgery.errors import EditError

_E8M0_BIAS = 127


@dataclass(frozen=True)
class BlockScales:
    """`grid` is one number a block, float32 (block rows, block columns); `block` its height and width."""

    grid: torch.Tensor
    block: tuple[int, int]

    def part(self, rows: slice, columns: slice) -> torch.Tensor:
        """The scales of a part of the matrix, (rows, columns), or 1 in place of a length that they share."""
        grid = self.grid
        if len(grid) > 1:
            grid = grid[torch.arange(rows.start, rows.stop) // self.block[0]]
        if grid.shape[1] > 1:
            grid = grid[:, torch.arange(columns.start, columns.stop) // self.block[1]]
        return grid


def read_scales(scale: Scale, checkpoint: Checkpoint) -> BlockScales:
    """Read the partner of an FP8 matrix, from whatever shard it stands in.

    Raises:
        EditError: a scale is zero, negative or not finite.
    """
    _, entry = checkpoint.entry(scale.tensor)
    if entry.dtype in ("F8_E8M0", "U8"):  # a power of two
        stored = read_tensor(checkpoint, scale.tensor, None, stored=torch.uint8)
        values = torch.exp2(stored.float() - _E8M0_BIAS)
    else:
        values = read_tensor(checkpoint, scale.tensor)
    if not bool((torch.isfinite(values) & (values > 0)).all()):
        raise EditError(
            f"{scale.tensor}: holds a scale that is not a positive number; the source is damaged, so what it"
            " scales is not edited"
        )
    rows = values.shape[0] if values.ndim else 1
    return BlockScales(values.reshape(rows, -1), scale.block)
