"""A dictionary's rows as unit atoms, and their products with vectors in one pass.

The pass is taken in tiles of rows, so that neither a normalised copy of the dictionary nor more products than
are wanted are ever held: a dictionary mapped from the disk is read where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_TILE = 4096
"""Rows a tile: 48 MB at d = 3,072 in float32."""


@dataclass(frozen=True)
class SparseCode:
    """Feature numbers in the order they were taken, (k,) int64, and their signed coefficients, (k,)
    float64."""

    features: np.ndarray
    coefficients: np.ndarray


@dataclass(frozen=True)
class Atoms:
    """Rows (m, d) of any length, mapped from a file or not, and their lengths (m,)."""

    rows: np.ndarray
    norms: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def unit(self, numbers: np.ndarray) -> np.ndarray:
        """Some atoms at unit length, (…, d) float64."""
        found: np.ndarray = self.rows[numbers].astype(np.float64)
        return found if self.norms is None else found / _safe(self.norms[numbers])[..., None]


def as_atoms(atoms: np.ndarray | Atoms) -> Atoms:
    """Rows of unit length as `Atoms`; `Atoms` as they are."""
    return atoms if isinstance(atoms, Atoms) else Atoms(atoms)


def best_atoms(
    atoms: Atoms,
    residuals: np.ndarray,
    *,
    nonnegative: bool = False,
    excluded: Sequence[Sequence[int]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """For each residual (n, d) the atom of largest product, or of largest absolute product: one pass.

    Args:
        excluded: for each residual the atoms that may not be taken.

    Returns:
        Numbers (n,) int64 and the signed products (n,) in the atoms' precision.
    """
    wanted = np.ascontiguousarray(residuals, dtype=atoms.rows.dtype)
    n = len(wanted)
    best = np.full(n, -np.inf, dtype=wanted.dtype)
    numbers, signed = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=wanted.dtype)
    for start, products in _tiles(atoms, wanted):
        if excluded is not None:
            for row, taken in enumerate(excluded):
                inside = [each - start for each in taken if 0 <= each - start < products.shape[1]]
                products[row, inside] = -np.inf if nonnegative else 0.0
        scores = products if nonnegative else np.abs(products)
        at = scores.argmax(axis=1)
        score = np.take_along_axis(scores, at[:, None], axis=1)[:, 0]
        better = score > best
        best[better], numbers[better] = score[better], at[better] + start
        signed[better] = np.take_along_axis(products, at[:, None], axis=1)[better, 0]
    return numbers, signed


def all_products(atoms: Atoms, vectors: np.ndarray) -> np.ndarray:
    """⟨unit atom, vector⟩ of every atom with every vector (n, d): (n, m); one pass."""
    wanted = np.ascontiguousarray(vectors, dtype=atoms.rows.dtype)
    result = np.empty((len(wanted), len(atoms)), dtype=wanted.dtype)
    for start, products in _tiles(atoms, wanted):
        result[:, start : start + products.shape[1]] = products
    return result


def _tiles(atoms: Atoms, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, products (n, rows)) over the dictionary, each row read once."""
    for start in range(0, len(atoms), _TILE):
        rows = atoms.rows[start : start + _TILE]
        products = (rows @ wanted[0])[None] if len(wanted) == 1 else wanted @ rows.T
        if atoms.norms is not None:
            products = products / _safe(atoms.norms[start : start + _TILE]).astype(products.dtype)
        yield start, products


def _safe(norms: np.ndarray) -> np.ndarray:
    return np.where(norms > 0, norms, 1.0)
