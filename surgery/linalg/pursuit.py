"""Gradient pursuit: a vector as a signed sum of a few unit atoms (Blumensath and Davies 2008).

Each step takes the atom j with the largest |⟨d_j, r⟩| into the support Γ and moves the coefficients along the
gradient on it by the exact line search:  g = D_Γ r,  c = gᵀ D_Γ,  a = ⟨c, r⟩ / ⟨c, c⟩,  w_Γ += a g,  r = v −
w_Γᵀ D_Γ.

The gathered atoms D_Γ are kept, so a step reads the dictionary once, for however many vectors are coded; one
vector alone is coded on a working set, and all its steps read it about twice (`working_set`). A step that
picks an atom again refines the coefficients; steps go on until k distinct atoms are in use, which is what k
means here.
"""

from __future__ import annotations

import numpy as np

from surgery.linalg.atoms import Atoms, as_atoms
from surgery.linalg.atoms import SparseCode as SparseCode
from surgery.linalg.units import nonzero
from surgery.linalg.working_set import Choose, coded

_MOST_STEPS = 100
_EXACT = 1e-12


def gradient_pursuit(atoms: np.ndarray | Atoms, vector: np.ndarray, k: int) -> SparseCode:
    """Code a vector with k distinct atoms.

    Args:
        atoms: (n_features, d_model) unit rows, or `Atoms`.
        vector: (d_model,).
        k: number of distinct atoms; fewer come back only where fewer rebuild the vector exactly.

    Returns:
        The code; coefficients are for unit atoms and keep their signs.
    """
    path = gradient_pursuits(atoms, np.asarray(vector)[None], k)[0]
    return path[-1] if path else SparseCode(np.empty(0, dtype=np.int64), np.empty(0))


def gradient_pursuits(
    atoms: np.ndarray | Atoms, vectors: np.ndarray, k: int, *, nonnegative: bool = False
) -> list[list[SparseCode]]:
    """The codes of several vectors with 1, 2, … k distinct atoms.

    Args:
        vectors: (n, d_model), coded together.
        nonnegative: take only atoms with a positive product, and hold the coefficients at 0 or above.

    Returns:
        One list a vector, of one code a size; entry s − 1 is what a call with k = s returns. The list is
        shorter where fewer atoms rebuild the vector exactly.
    """
    held = as_atoms(atoms)

    def pursue(choose: Choose, targets: np.ndarray) -> list[list[SparseCode]]:
        state = _Together(targets, k)
        for _ in range(_MOST_STEPS * k):
            going = state.going()
            if not len(going):
                break
            picked, products = choose(state.residuals[going])
            if nonnegative:
                state.stuck[going[products <= 0]] = True
                going, picked = going[products > 0], picked[products > 0]
            state.take(going, picked, held.unit(picked))
            state.line_search(going, nonnegative=nonnegative)
        return state.paths

    return coded(held, vectors, pursue, nonnegative=nonnegative)


class _Together:
    """Several vectors in the middle of gradient pursuit; slots of a vector beyond its support hold zeros."""

    def __init__(self, targets: np.ndarray, k: int) -> None:
        n, d = targets.shape
        self.targets, self.residuals = targets, targets.copy()
        self.limits = _EXACT * np.linalg.norm(targets, axis=1)
        self.chosen = np.zeros((n, k, d))
        self.support = np.full((n, k), -1, dtype=np.int64)
        self.weights = np.zeros((n, k))
        self.counts = np.zeros(n, dtype=np.int64)
        self.stuck = np.zeros(n, dtype=bool)
        self.paths: list[list[SparseCode]] = [[] for _ in range(n)]
        self._k = k

    def going(self) -> np.ndarray:
        """Numbers of the vectors that want more atoms and are not rebuilt already."""
        left = np.linalg.norm(self.residuals, axis=1)
        return np.flatnonzero((self.counts < self._k) & (left > self.limits) & ~self.stuck)

    def take(self, rows: np.ndarray, picked: np.ndarray, atoms: np.ndarray) -> None:
        """Add each vector's atom to its support, where it is not there yet."""
        new = ~(self.support[rows] == picked[:, None]).any(axis=1)
        rows, slots = rows[new], self.counts[rows[new]]
        self.support[rows, slots], self.chosen[rows, slots] = picked[new], atoms[new]
        self.counts[rows] += 1

    def line_search(self, rows: np.ndarray, *, nonnegative: bool) -> None:
        """One exact step along the gradient on each support, and note the code each vector has now."""
        chosen, residuals = self.chosen[rows], self.residuals[rows]
        gradient = np.einsum("nkd,nd->nk", chosen, residuals)
        step = np.einsum("nk,nkd->nd", gradient, chosen)
        length = np.einsum("nd,nd->n", step, step)
        size = np.einsum("nd,nd->n", step, residuals) / nonzero(length)
        weights = self.weights[rows] + size[:, None] * gradient
        self.weights[rows] = np.maximum(weights, 0.0) if nonnegative else weights
        rebuilt = np.einsum("nk,nkd->nd", self.weights[rows], chosen)
        self.residuals[rows] = self.targets[rows] - rebuilt
        for row in rows:
            count = int(self.counts[row])
            code = SparseCode(self.support[row, :count].copy(), self.weights[row, :count].copy())
            # A refining step belongs to the next size: the code of this one stands as it was first reached.
            if len(self.paths[row]) < count:
                self.paths[row].append(code)
