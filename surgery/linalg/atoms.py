"""A dictionary's rows as unit atoms, and their products with vectors in one pass.

The pass is taken in tiles of rows, so that neither a normalised copy of the dictionary nor more products than
are wanted are ever held: a dictionary mapped from the disk is read where it stands.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from surgery.linalg.units import nonzero

_TILE = 4096
"""Rows a tile: 48 MB at d = 3,072 in float32."""
_FEW, _SMALL = 32, 1_000_000
"""A product of at most so many multiplications is done by kernels that do not first copy the rows; with up to
32 vectors it pays to cut the rows to that size."""


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
        return found if self.norms is None else found / nonzero(self.norms[numbers])[..., None]


def as_atoms(atoms: np.ndarray | Atoms) -> Atoms:
    """Rows of unit length as `Atoms`; `Atoms` as they are."""
    return atoms if isinstance(atoms, Atoms) else Atoms(atoms)


def best_atoms(
    atoms: Atoms,
    residuals: np.ndarray,
    excluded: Sequence[Sequence[int]] | None = None,
    *,
    nonnegative: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """For each residual (n, d) the atom of largest product, or of largest absolute product: one pass.

    Where the atoms' precision leaves several in question, the float64 product decides; the first of equals.

    Args:
        excluded: for each residual the atoms that may not be taken.

    Returns:
        Numbers (n,) int64 and the signed products (n,) float64.
    """
    wanted = np.ascontiguousarray(residuals, dtype=atoms.rows.dtype)
    n = len(wanted)
    close = 2 * rounding_bound(atoms) * np.linalg.norm(residuals, axis=1)
    best, found = np.full(n, -np.inf), []
    for start, products in _tiles(atoms, wanted):
        scores = products if nonnegative else np.abs(products)
        for row, taken in enumerate(excluded or ()):
            inside = [each - start for each in taken if 0 <= each - start < products.shape[1]]
            scores[row, inside] = -np.inf
        best = np.maximum(best, scores.max(axis=1))
        rows, columns = np.nonzero(scores >= (best - close).astype(scores.dtype)[:, None])
        found.append((rows, columns + start, scores[rows, columns], products[rows, columns]))
    rows, numbers, scores, products = (np.concatenate(each) for each in zip(*found, strict=True))
    near = scores >= (best - close)[rows]
    rows, numbers, products = rows[near], numbers[near], products[near].astype(np.float64)
    return _decided(atoms, residuals, (rows, numbers, products), nonnegative=nonnegative)


def _decided(
    atoms: Atoms,
    residuals: np.ndarray,
    near: tuple[np.ndarray, np.ndarray, np.ndarray],
    *,
    nonnegative: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The best of each residual's candidates (residual, atom, product), by float64 where it has several."""
    rows, numbers, products = near
    n = len(residuals)
    doubtful = np.bincount(rows, minlength=n)[rows] > 1
    products[doubtful] = exact_products(atoms, numbers[doubtful], residuals[rows[doubtful]])
    scores = products if nonnegative else np.abs(products)
    order = np.lexsort((numbers, -scores, rows))
    first = order[np.searchsorted(rows[order], np.arange(n))]
    return numbers[first], products[first]


def all_products(atoms: Atoms, vectors: np.ndarray) -> np.ndarray:
    """⟨unit atom, vector⟩ of every atom with every vector (n, d): (n, m); one pass."""
    wanted = np.ascontiguousarray(vectors, dtype=atoms.rows.dtype)
    result = np.empty((len(wanted), len(atoms)), dtype=wanted.dtype)
    for start, products in _tiles(atoms, wanted):
        result[:, start : start + products.shape[1]] = products
    return result


def exact_products(atoms: Atoms, numbers: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """⟨unit atom, vector⟩ in float64 of atom i with vector i (n, d): (n,)."""
    rows = atoms.unit(numbers)
    products: np.ndarray = np.einsum("nd,nd->n", rows, np.asarray(vectors, dtype=np.float64))
    return products


def rounding_bound(atoms: Atoms) -> float:
    """How far off a product ⟨unit atom, r⟩ in the atoms' precision may be, per unit of ‖r‖."""
    # d products and sums of them (Higham 2002, 3.1), r rounded to that precision, the division by the norm.
    return float((atoms.rows.shape[1] + 4) * np.finfo(atoms.rows.dtype).eps / 2)


def _tiles(atoms: Atoms, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, products (n, rows)) over the dictionary, each row read once."""
    for start in range(0, len(atoms), _TILE):
        products = _products(atoms.rows[start : start + _TILE], wanted)
        if atoms.norms is not None:
            products = products / nonzero(atoms.norms[start : start + _TILE]).astype(products.dtype)
        yield start, products


def _products(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Products of a tile's rows with vectors (n, d): (n, rows)."""
    n = len(wanted)
    if n == 1:
        product: np.ndarray = (rows @ wanted[0])[None]
        return product
    if n > _FEW:
        return np.asarray(wanted @ rows.T)
    columns = np.zeros((wanted.shape[1], -(-n // 4) * 4), dtype=wanted.dtype)
    columns[:, :n] = wanted.T
    result = np.empty((len(rows), columns.shape[1]), dtype=wanted.dtype)
    step = max(16, _SMALL // columns.size)

    def fill(starts: np.ndarray) -> None:
        for at in starts.tolist():
            np.matmul(rows[at : at + step], columns, out=result[at : at + step])

    threads, starts = _threads(), np.arange(0, len(rows), step)
    if threads == 1:
        fill(starts)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, np.array_split(starts, threads)))
    return result[:, :n].T


def _threads() -> int:
    """As many as the matrix library itself would use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) else os.cpu_count() or 1
