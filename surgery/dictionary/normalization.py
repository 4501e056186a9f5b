"""What some dictionaries do to each activation before they read it, and how it is undone.

layer_norm       N(x) = (x − mean(x)) / (std(x) + 1e-5), the unbiased std;   x = y · std + mean
constant_norm    N(x) = x √d / ‖x‖;                                          x = y ‖x‖ / √d
"""

from __future__ import annotations

from typing import Literal

import numpy as np

Normalization = Literal["none", "layer_norm", "constant_norm"]
_EPSILON = 1e-5


def normalise(
    kind: Normalization, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray | float, np.ndarray | float]:
    """(N(x), scale, shift) of activations (n, d), such that an output y is undone as y · scale + shift."""
    if kind == "layer_norm":
        shift = x.mean(axis=1, keepdims=True)
        scale = x.std(axis=1, ddof=1, keepdims=True)
        return (x - shift) / (scale + _EPSILON), scale, shift
    if kind == "constant_norm":
        lengths = np.linalg.norm(x, axis=1, keepdims=True) / x.dtype.type(x.shape[1] ** 0.5)
        scale = np.where(lengths > 0, lengths, x.dtype.type(1))
        return x / scale, scale, 0.0
    return x, 1.0, 0.0
