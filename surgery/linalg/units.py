"""Lengths and bases of a few vectors, in numpy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def unit_rows(rows: Array) -> Array:
    """Rows (k, d) at length 1; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))


def ordered_basis(rows: Array) -> tuple[Array, Array]:
    """Orthonormal rows (k, d), each along what its row adds to those before, and how much that is, (k,)."""
    q, r = np.linalg.qr(rows.T)
    added = np.diagonal(r)
    return np.ascontiguousarray((q * np.sign(added)).T), np.abs(added)
