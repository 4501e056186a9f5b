"""A vector as few atoms by an L1 penalty, solved by FISTA and tuned until exactly k atoms are left.

    min_w  ½ ‖v − wᵀ D‖² + λ ‖w‖₁            FISTA: Beck and Teboulle 2009, restarted where the momentum turns
                                             back (O'Donoghue and Candès 2015)

Only a working set of atoms is iterated on, through its Gram matrix. What is found there claims that no other
atom has |⟨d_j, r⟩| > λ; one pass over the dictionary tests that (`working_set`), so it is the solution of the
whole dictionary. Its signs give it in closed form: w_S = (D_S D_Sᵀ)⁻¹ (D_S v − λ sign w_S). The support grows
as λ falls from max |⟨d_j, v⟩|, where it is empty; bisection on log λ finds k atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from surgery.linalg.atoms import Atoms, SparseCode, as_atoms
from surgery.linalg.working_set import WorkingSet, proven

_ITERATIONS = 5000
_TIGHT = 1e-12
_SLACK = 1e-9
_TRIED_EVERY = 10
_BISECTIONS = 60
_LADDER = 0.8
_LOWEST = 1e-4
"""Smallest λ that is tried, as a share of the largest product."""
_WORKING_SET = 256
_NOTHING = SparseCode(np.empty(0, dtype=np.int64), np.empty(0))


def lasso_path(
    atoms: np.ndarray | Atoms, vector: np.ndarray, k: int, *, nonnegative: bool = False
) -> list[SparseCode]:
    """The solutions with 1, 2, … k atoms, each at the largest λ that bisection finds with that many.

    Where the support jumps over a size (two atoms enter at one λ), its largest atoms. Coefficients are the
    penalised ones, shrunk towards 0; `refit_code` undoes that. The list is shorter only where no λ above 1e-4
    of the largest product has as many atoms.

    Args:
        atoms: (m, d) unit rows, or `Atoms`.
        vector: (d,).
        k: how many atoms at most.
        nonnegative: whether coefficients are held at 0 or above.
    """
    target = np.asarray(vector, dtype=np.float64)

    def solve(working: WorkingSet) -> list[SparseCode]:
        problem, path = _Problem(working, target), list[SparseCode]()
        for size in range(1, k + 1):
            code = problem.of_size(size)
            if len(code.features) < size:
                break
            path.append(code)
        return path

    likely = max(_WORKING_SET, 8 * k)
    return proven(as_atoms(atoms), target, solve, nonnegative=nonnegative, likely=likely)


def refit_code(atoms: np.ndarray | Atoms, vector: np.ndarray, code: SparseCode) -> SparseCode:
    """The same features with least-squares coefficients."""
    chosen = as_atoms(atoms).unit(code.features)
    fitted = np.linalg.lstsq(chosen.T, np.asarray(vector, dtype=np.float64), rcond=None)[0]
    return SparseCode(code.features, fitted)


@dataclass(frozen=True)
class _Problem:
    """The vector on a working set, and the solutions that were found there, by λ."""

    working: WorkingSet
    vector: np.ndarray

    @cached_property
    def linear(self) -> np.ndarray:
        return np.asarray(self.working.rows @ self.vector)

    @cached_property
    def gram(self) -> np.ndarray:
        return np.asarray(self.working.rows @ self.working.rows.T)

    @cached_property
    def step(self) -> float:
        return 1.0 / max(float(np.linalg.eigvalsh(self.gram)[-1]), np.finfo(float).tiny)

    @cached_property
    def _known(self) -> dict[float, np.ndarray]:
        return {}

    def solution(self, penalty: float) -> np.ndarray:
        """The weights (w,) at one λ."""
        if penalty not in self._known:
            self._known[penalty] = _fista(self, penalty)
        return self._known[penalty]

    def of_size(self, k: int) -> SparseCode:
        """The code of k atoms; of fewer where there is none."""
        high = low = float(self.working.scores(self.linear).max())
        least = _LOWEST * high
        if not high > 0:
            return _NOTHING
        while np.count_nonzero(self.solution(low)) < k:
            if low <= least:
                return self.claimed(self.solution(low), low)
            high, low = low, low * _LADDER
        for _ in range(_BISECTIONS):
            if np.count_nonzero(self.solution(low)) == k:
                break
            middle = float(np.sqrt(low * high))
            if np.count_nonzero(self.solution(middle)) >= k:
                low = middle
            else:
                high = middle
        code = self.claimed(self.solution(low), low)
        return SparseCode(code.features[:k], code.coefficients[:k])

    def claimed(self, weights: np.ndarray, penalty: float) -> SparseCode:
        """Weights as a code, claimed to be the solution among all atoms."""
        self.working.claim(self.vector - weights @ self.working.rows, penalty * (1 + _SLACK))
        active = np.flatnonzero(weights)
        order = active[np.argsort(-np.abs(weights[active]), kind="stable")]
        return SparseCode(self.working.numbers[order], weights[order])


def _fista(problem: _Problem, penalty: float) -> np.ndarray:
    gram, linear, step, nonnegative = problem.gram, problem.linear, problem.step, problem.working.nonnegative
    weights = ahead = np.zeros(len(linear))
    momentum = 1.0
    for iteration in range(1, _ITERATIONS + 1):
        moved = ahead - step * (gram @ ahead - linear)
        if nonnegative:
            following: np.ndarray = np.maximum(moved - step * penalty, 0.0)
        else:
            following = np.sign(moved) * np.maximum(np.abs(moved) - step * penalty, 0.0)
        change = following - weights
        if np.abs(change).max() <= _TIGHT * max(1.0, float(np.abs(following).max())):
            return _polished(gram, linear, penalty, following)
        if (ahead - following) @ change > 0:
            momentum = 1.0
        grown = (1 + np.sqrt(1 + 4 * momentum * momentum)) / 2
        ahead, weights, momentum = following + (momentum - 1) / grown * change, following, grown
        if iteration % _TRIED_EVERY == 0:
            exact = _polished(gram, linear, penalty, weights)
            if _is_optimal(gram, linear, penalty, exact, nonnegative):
                return exact
    return _polished(gram, linear, penalty, weights)


def _is_optimal(
    gram: np.ndarray, linear: np.ndarray, penalty: float, weights: np.ndarray, nonnegative: bool
) -> bool:
    """Whether the slope is λ sign w on the support and at most λ elsewhere, to rounding."""
    slope = linear - gram @ weights
    active = weights != 0
    tolerance = _TIGHT * max(1.0, float(np.abs(linear).max()))
    on_support = np.abs(slope[active] - penalty * np.sign(weights[active]))
    elsewhere = slope[~active] if nonnegative else np.abs(slope[~active])
    return bool(
        on_support.max(initial=0.0) <= tolerance and elsewhere.max(initial=0.0) <= penalty + tolerance
    )


def _polished(gram: np.ndarray, linear: np.ndarray, penalty: float, weights: np.ndarray) -> np.ndarray:
    """The closed form on the support found, where that keeps its signs."""
    active = np.flatnonzero(weights)
    if not len(active):
        return weights
    signs = np.sign(weights[active])
    try:
        exact = np.linalg.solve(gram[np.ix_(active, active)], linear[active] - penalty * signs)
    except np.linalg.LinAlgError:
        return weights
    if (np.sign(exact) != signs).any():
        return weights
    polished = np.zeros_like(weights)
    polished[active] = exact
    return polished
