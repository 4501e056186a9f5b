"""Matching pursuit with a fit on the support at every step, free or non-negative.

    OMP                 w_Γ = the least-squares fit on Γ                        (Pati et al. 1993)
    non-negative OMP    w_Γ = the fit with w ≥ 0; an atom whose weight falls to 0 leaves Γ

A step takes the atom outside Γ with the largest |⟨d_j, r⟩| (or ⟨d_j, r⟩) into it; r = v − w_Γᵀ D_Γ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surgery.linalg.atoms import Atoms, SparseCode, as_atoms, best_atoms
from surgery.linalg.least_squares import nonnegative_least_squares

_MOST_STEPS = 100
_EXACT = 1e-12


def orthogonal_matching_pursuits(
    atoms: np.ndarray | Atoms, vectors: np.ndarray, k: int
) -> list[list[SparseCode]]:
    """As `pursuit.gradient_pursuits`, with the least-squares fit on the support at each step."""
    held = as_atoms(atoms)

    def refit(chosen: np.ndarray, target: np.ndarray) -> np.ndarray:
        solved: np.ndarray = np.linalg.lstsq(chosen.T, target, rcond=None)[0]
        return solved

    return _matching(held, np.asarray(vectors, dtype=np.float64), k, refit, nonnegative=False)


def nonnegative_matching_pursuits(
    atoms: np.ndarray | Atoms, vectors: np.ndarray, k: int
) -> list[list[SparseCode]]:
    """As `orthogonal_matching_pursuits`, with atoms of positive product and weights above 0 only.

    A list is shorter than k where no further atom has a positive product with what is left.
    """
    held = as_atoms(atoms)

    def refit(chosen: np.ndarray, target: np.ndarray) -> np.ndarray:
        return nonnegative_least_squares(chosen, target)

    return _matching(held, np.asarray(vectors, dtype=np.float64), k, refit, nonnegative=True)


def _matching(
    atoms: Atoms,
    targets: np.ndarray,
    k: int,
    refit: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    nonnegative: bool,
) -> list[list[SparseCode]]:
    n = len(targets)
    supports: list[list[int]] = [[] for _ in range(n)]
    paths: list[list[SparseCode]] = [[] for _ in range(n)]
    residuals, limits = targets.copy(), _EXACT * np.linalg.norm(targets, axis=1)
    stuck = np.zeros(n, dtype=bool)
    for _ in range(_MOST_STEPS * k):
        left = np.linalg.norm(residuals, axis=1)
        going = [
            row for row in range(n) if len(paths[row]) < k and left[row] > limits[row] and not stuck[row]
        ]
        if not going:
            break
        picked, products = best_atoms(
            atoms, residuals[going], nonnegative=nonnegative, excluded=[supports[row] for row in going]
        )
        for row, number, product in zip(going, picked.tolist(), products, strict=True):
            if nonnegative and not product > 0:
                stuck[row] = True
                continue
            supports[row].append(number)
            chosen = atoms.unit(np.array(supports[row]))
            weights = refit(chosen, targets[row])
            residuals[row] = targets[row] - weights @ chosen
            kept = np.flatnonzero(weights > 0) if nonnegative else np.arange(len(weights))
            stuck[row] = number not in np.array(supports[row])[kept]
            supports[row] = [supports[row][index] for index in kept]
            if len(kept) == len(paths[row]) + 1:
                paths[row].append(SparseCode(np.array(supports[row], dtype=np.int64), weights[kept]))
    return paths
