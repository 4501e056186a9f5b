"""What stands between a writer and the stream, as numbers.

Behind norms of gains g_1 … g_m a writer's own direction q reaches the stream as r with q = g_1∘…∘g_m∘r. A
short convolution has such gains for each position that it reaches back; those of the position itself carry r.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.pair import read_slot, slot_of
from surgery.linalg.units import unit_rows
from surgery.model.anatomy import Gain

Array = npt.NDArray[np.float64]


def read_factors(gain: Gain, checkpoint: Checkpoint) -> Array:
    """The factors per coordinate of the stream that one norm multiplies by, (1, d_model), or a convolution,
    one row for each of its positions, its own the last: (n, d_model).
    """
    weight = read_slot(slot_of(checkpoint, gain.tensor)).astype(np.float64)
    factors = weight.reshape(len(weight), -1).T.copy()
    factors[-1] += gain.offset
    return factors


def whole_gain(gain: Gain, checkpoint: Checkpoint) -> Array:
    """The factors (d_model,) of everything behind a writer together, at the position that it writes."""
    return np.asarray(np.prod([read_factors(each, checkpoint)[-1] for each in gain.chain()], axis=0))


def in_stream(rows: Array, gain: Array | None) -> Array:
    """Directions that a writer writes, unit rows (k, d_model), as they reach the stream behind its gain; what
    is nearly zero in that counts as a millionth of its largest.
    """
    if gain is None:
        return rows
    smallest = float(np.abs(gain).max()) * 1e-6
    return unit_rows(rows / np.where(np.abs(gain) < smallest, smallest, gain))
