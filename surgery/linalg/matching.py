"""Matching pursuit with a fit on the support at every step, free or non-negative.

    OMP                 w_Γ = the least-squares fit on Γ                        (Pati et al. 1993)
    non-negative OMP    w_Γ = the fit with w ≥ 0; an atom whose weight falls to 0 leaves Γ

A step takes the atom outside Γ with the largest |⟨d_j, r⟩| (or ⟨d_j, r⟩) into it; r = v − w_Γᵀ D_Γ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surgery.linalg.atoms import Atoms, SparseCode, as_atoms
from surgery.linalg.least_squares import nonnegative_least_squares
from surgery.linalg.working_set import Choose, coded

Refit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(atoms (k, d), target (d,)) → weights (k,)."""

_MOST_STEPS = 100
_EXACT = 1e-12


def orthogonal_matching_pursuits(
    atoms: np.ndarray | Atoms, vectors: np.ndarray, k: int
) -> list[list[SparseCode]]:
    """As `pursuit.gradient_pursuits`, with the least-squares fit on the support at each step."""

    def refit(chosen: np.ndarray, target: np.ndarray) -> np.ndarray:
        solved: np.ndarray = np.linalg.lstsq(chosen.T, target, rcond=None)[0]
        return solved

    return _matching(as_atoms(atoms), vectors, k, refit, nonnegative=False)


def nonnegative_matching_pursuits(
    atoms: np.ndarray | Atoms, vectors: np.ndarray, k: int
) -> list[list[SparseCode]]:
    """As `orthogonal_matching_pursuits`, with atoms of positive product and weights above 0 only.

    A list is shorter than k where no further atom has a positive product with what is left.
    """
    return _matching(as_atoms(atoms), vectors, k, nonnegative_least_squares, nonnegative=True)


def _matching(
    atoms: Atoms, vectors: np.ndarray, k: int, refit: Refit, *, nonnegative: bool
) -> list[list[SparseCode]]:
    def match(choose: Choose, targets: np.ndarray) -> list[list[SparseCode]]:
        states = [_Matching(atoms, target, k, refit, nonnegative) for target in targets]
        for _ in range(_MOST_STEPS * k):
            going = [state for state in states if state.is_going()]
            if not going:
                break
            residuals = np.stack([state.residual for state in going])
            picked, products = choose(residuals, [state.support for state in going])
            for state, number, product in zip(going, picked.tolist(), products.tolist(), strict=True):
                state.take(number, product)
        return [state.path for state in states]

    return coded(atoms, vectors, match, nonnegative=nonnegative)


class _Matching:
    """One vector in the middle of it."""

    def __init__(self, atoms: Atoms, target: np.ndarray, k: int, refit: Refit, nonnegative: bool) -> None:
        self.support: list[int] = []
        self.path: list[SparseCode] = []
        self.residual = target
        self._atoms, self._target, self._k, self._refit = atoms, target, k, refit
        self._nonnegative, self._is_stuck = nonnegative, False

    def is_going(self) -> bool:
        """Whether it wants more atoms and is not rebuilt already."""
        left = np.linalg.norm(self.residual) > _EXACT * np.linalg.norm(self._target)
        return bool(left) and len(self.path) < self._k and not self._is_stuck

    def take(self, number: int, product: float) -> None:
        """Take an atom in, fit again, and let go of what the fit holds at 0."""
        if self._nonnegative and not product > 0:
            self._is_stuck = True
            return
        numbers = np.array([*self.support, number])
        chosen = self._atoms.unit(numbers)
        weights = self._refit(chosen, self._target)
        self.residual = self._target - weights @ chosen
        kept = np.flatnonzero(weights > 0) if self._nonnegative else np.arange(len(weights))
        self.support = numbers[kept].tolist()
        self._is_stuck = number not in self.support
        if len(kept) == len(self.path) + 1:
            self.path.append(SparseCode(numbers[kept].astype(np.int64), weights[kept]))
