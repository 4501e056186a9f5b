"""What the stored type of a tensor says of its change: the steps of the type, and plain casts through one."""

from __future__ import annotations

import numpy as np

from surgery.checkpoint.dtypes import EDITABLE
from surgery.checkpoint.numbers import NUMBERS, Array, rounded
from surgery.checkpoint.pair import walk_pair
from surgery.compare.pairing import Pair

STEPS = {
    "BF16": 2.0**-7,
    "F16": 2.0**-10,
    "F32": 2.0**-23,
    "F64": 2.0**-52,
    "F8_E4M3": 2.0**-3,
    "F8_E5M2": 2.0**-2,
}
"""Distance of neighbouring numbers in [1, 2)."""
_NARROWER = {"F32": ("BF16", "F16"), "F16": ("BF16",)}
_EXACT_IN_F16 = 2.0**-17
"""The smallest size from which on float16 has every bfloat16 number, up to its own largest one."""
_EXPONENT = {"f": ("u4", 0x7F800000), "d": ("u8", 0x7FF << 52)}


def can_measure(pair: Pair) -> bool:
    """Whether both sides hold numbers that can be read."""
    return {pair.before.entry.dtype, pair.after.entry.dtype} <= NUMBERS


def coarsest_grid(values: Array, dtype: str) -> str:
    """The type on whose steps float32 values stand: weights are often stored wider than they were made."""
    kinds = _NARROWER.get(dtype, ())
    if dtype == "F16":  # smaller ones were rounded again, to the steps that float16 has next to zero
        values = values[np.abs(values) >= _EXACT_IN_F16]
    if values.dtype != np.float32 or not values.size:
        return dtype
    return next((kind for kind in kinds if np.array_equal(rounded(values, kind), values)), dtype)


def cast_type(pair: Pair) -> str | None:
    """The type through which the second tensor is the first, rounded or widened and nothing else.

    Raises:
        CheckpointError: a file ends too early.
    """
    stored = pair.after.entry.dtype
    if stored not in EDITABLE or pair.before.entry.dtype not in EDITABLE:
        return None
    kinds = [stored] if pair.retyped else []
    kinds += [kind for kind in ("BF16", "F16") if stored in ("F32", "F64")]
    return next((kind for kind in kinds if _is_rounded(pair, kind)), None)


def binades(values: Array) -> float:
    """Σ (2^⌊log2|a|⌋)² of float32 or float64 values, (n, length)."""
    kind, exponent = _EXPONENT[values.dtype.char]
    floors = (values.view(kind) & np.dtype(kind).type(exponent)).view(values.dtype)
    return float(np.einsum("ij,ij->", floors, floors))


def _is_rounded(pair: Pair, kind: str) -> bool:
    return all(
        np.array_equal(rounded(tile.before, kind), tile.after) for tile in walk_pair(pair.before, pair.after)
    )
