"""Whether the values of a tensor stand on the levels of a quantised format although they are stored wider.

A block of a quantised tensor is a scale times one of few levels. Whole multiples of max/127 betray eight bits
with a scale a block (Q8_0: 32 entries, int8: a row); few distinct values betray fewer bits or an eight-bit
float. Weights that were never quantised show neither. Where they were rounded to such levels and
nothing else, each value is the level nearest to what it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.pair import walk_pair
from surgery.compare.pairing import Pair

Array = npt.NDArray[np.float32]
_LINES = 64
_NEAR = 0.12
_LEVELS = 127
_SMALL = 32
_FEWER = 0.5
_STORED = 2.0**-8
"""What storing a level in bfloat16 may add to it, relative to its size."""


@dataclass(frozen=True)
class Grid:
    """Levels in words. `aside` is the share of values that rounding to them would have put elsewhere."""

    name: str
    aside: float


def quantised_grid(pair: Pair) -> Grid | None:
    """The grid that the second tensor stands on and the first does not; None where there is none.

    Raises:
        CheckpointError: a file ends too early.
    """
    for tile in walk_pair(pair.before, pair.after, most_lines=_LINES):
        before, after = (side.astype(np.float32) for side in tile.both)
        return _multiples(before, after) or _levels(before, after)
    return None


def _multiples(before: Array, after: Array) -> Grid | None:
    for width, name in ((32, "blocks of 32"), (after.shape[1], "rows")):
        if after.shape[1] < width or after.shape[1] < 2 * _SMALL:
            continue
        near, far = _distance(after, width), _distance(before, width)
        if near < _NEAR < far:
            words = f"values in {name} are whole multiples of max/127"
            return Grid(
                f"{words} (rms distance {near:.2f}, before {far:.2f})", _off_step(before, after, width)
            )
    return None


def _off_step(before: Array, after: Array, width: int) -> float:
    """Share of values that moved by more than half a step of max/127."""
    old, new = _blocks(before, width), _blocks(after, width)
    step = np.abs(new).max(1, keepdims=True) / _LEVELS
    return float(np.mean(np.abs(new - old) > 0.55 * step + _STORED * np.abs(new)))


def _off_levels(before: Array, after: Array, width: int) -> float:
    """Share of values for which another value of their block would have been nearer."""
    old, new = _blocks(before, width), _blocks(after, width)
    nearest = np.abs(old[:, :, None] - new[:, None, :]).min(2)
    return float(np.mean(np.abs(new - old) > 1.1 * nearest + _STORED * np.abs(new)))


def _blocks(values: Array, width: int) -> Array:
    return values[:, : values.shape[1] // width * width].reshape(-1, width)


def _distance(values: Array, width: int) -> float:
    """Root mean square distance to the next whole multiple of max/127; 0.29 where there is no such grid."""
    blocks = _blocks(values, width)
    scale = np.abs(blocks).max(1, keepdims=True) / _LEVELS
    steps = blocks[scale[:, 0] > 0] / scale[scale[:, 0] > 0]
    small = steps[(np.abs(steps) < _SMALL) & (np.abs(steps) > 0.25)]  # larger ones are blurred by storage
    return float(np.sqrt(np.mean((small - np.round(small)) ** 2))) if small.size else 0.29


def _levels(before: Array, after: Array) -> Grid | None:
    for width, most in ((32, 16), (64, 16), (128, 16)):
        if after.shape[1] >= width > most and after.shape[1] % width == 0:
            new, old = _distinct(after, width), _distinct(before, width)
            if new <= most and new < _FEWER * old:
                words = f"blocks of {width} hold {new:.0f} distinct values, before {old:.0f}"
                return Grid(words, _off_levels(before, after, width))
    new, old = (len(np.unique(np.abs(side))) for side in (after, before))
    if after.size >= 4096 and new < 4 * _LEVELS and new < _FEWER * old:
        words = f"{after.size:,} values hold {new:,} distinct magnitudes, before {old:,}"
        return Grid(words, _off_levels(before, after, min(after.shape[1], 2 * _LEVELS)))
    return None


def _distinct(values: Array, width: int) -> float:
    ordered = np.sort(_blocks(values, width), axis=1)
    return float(np.mean(1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)))
