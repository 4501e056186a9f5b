"""A vector as few atoms by an L1 penalty, solved by FISTA and tuned until exactly k atoms are left.

    min_w  ½ ‖v − wᵀ D‖² + λ ‖w‖₁            FISTA: Beck and Teboulle 2009, restarted where the momentum turns
                                             back (O'Donoghue and Candès 2015)

Only a working set of atoms is iterated on, through its Gram matrix: after each solution one pass over the
whole dictionary looks for atoms with |⟨d_j, r⟩| > λ, which are added, until there are none. Then it is the
solution of the whole dictionary, and its signs give it in closed form: w_S = (D_S D_Sᵀ)⁻¹ (D_S v − λ sign
w_S). The support grows as λ falls from max |⟨d_j, v⟩|, where it is empty; bisection on log λ finds k atoms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surgery.linalg.atoms import Atoms, SparseCode, all_products, as_atoms

_ITERATIONS = 5000
_TIGHT = 1e-12
_SLACK = 1e-9
_TRIED_EVERY = 10
_BISECTIONS = 60
_LOWEST = 1e-4
"""Smallest λ that is tried, as a share of the largest product."""
_WORKING_SET = 256


@dataclass(frozen=True)
class _Problem:
    """The vector's products with every atom, and the atoms iterated on so far."""

    atoms: Atoms
    vector: np.ndarray
    products: np.ndarray  # (m,) ⟨d_j, v⟩
    nonnegative: bool

    def most_likely(self, n: int) -> np.ndarray:
        scores = self.products if self.nonnegative else np.abs(self.products)
        n = min(n, len(scores))
        return np.sort(np.argpartition(scores, len(scores) - n)[len(scores) - n :])


def lasso(
    atoms: np.ndarray | Atoms, vector: np.ndarray, penalty: float, *, nonnegative: bool = False
) -> SparseCode:
    """The solution at one λ > 0, over all atoms; features in order of their coefficients' size.

    Args:
        atoms: (m, d) unit rows, or `Atoms`.
        vector: (d,).
        penalty: λ.
    """
    problem = _problem(atoms, vector, nonnegative)
    code, _ = _solve(problem, penalty, problem.most_likely(_WORKING_SET))
    return code


def lasso_of_size(
    atoms: np.ndarray | Atoms, vector: np.ndarray, k: int, *, nonnegative: bool = False
) -> SparseCode:
    """The solution whose support has k atoms, at the largest λ that bisection finds with that many.

    Where the path jumps over k (two atoms enter at one λ), the k largest of the next larger support.
    Coefficients are the penalised ones, shrunk towards 0; `refit_code` undoes that. Fewer than k atoms come
    back only where no λ above 1e-4 of the largest product has as many.
    """
    problem = _problem(atoms, vector, nonnegative)
    working = problem.most_likely(max(_WORKING_SET, 8 * k))
    scores = problem.products if nonnegative else np.abs(problem.products)
    high = float(scores.max())
    if not high > 0:
        return SparseCode(np.empty(0, dtype=np.int64), np.empty(0))
    low, larger = high, None
    while larger is None and low > _LOWEST * high:
        low *= 0.5
        found, working = _solve(problem, low, working)
        larger = found if len(found.features) >= k else None
    if larger is None:
        return found
    for _ in range(_BISECTIONS):
        if len(larger.features) == k:
            break
        middle = float(np.sqrt(low * high))
        found, working = _solve(problem, middle, working)
        if len(found.features) >= k:
            low, larger = middle, found
        else:
            high = middle
    return SparseCode(larger.features[:k], larger.coefficients[:k])


def refit_code(atoms: np.ndarray | Atoms, vector: np.ndarray, code: SparseCode) -> SparseCode:
    """The same features with least-squares coefficients."""
    chosen = as_atoms(atoms).unit(code.features)
    fitted = np.linalg.lstsq(chosen.T, np.asarray(vector, dtype=np.float64), rcond=None)[0]
    return SparseCode(code.features, fitted)


def _problem(atoms: np.ndarray | Atoms, vector: np.ndarray, nonnegative: bool) -> _Problem:
    held = as_atoms(atoms)
    target = np.asarray(vector, dtype=np.float64)
    return _Problem(held, target, all_products(held, target[None])[0].astype(np.float64), nonnegative)


def _solve(problem: _Problem, penalty: float, working: np.ndarray) -> tuple[SparseCode, np.ndarray]:
    """The solution over all atoms, and the working set that it took."""
    while True:
        chosen = problem.atoms.unit(working)
        gram, linear = chosen @ chosen.T, chosen @ problem.vector
        weights = _fista(gram, linear, penalty, problem.nonnegative)
        residual = problem.vector - weights @ chosen
        products = all_products(problem.atoms, residual[None])[0].astype(np.float64)
        scores = products if problem.nonnegative else np.abs(products)
        slack = penalty * (1 + _SLACK) + np.finfo(problem.atoms.rows.dtype).eps * 10
        missing = np.setdiff1d(np.flatnonzero(scores > slack), working)
        if not len(missing):
            break
        working = np.union1d(working, missing)
    active = np.flatnonzero(weights)
    order = active[np.argsort(-np.abs(weights[active]), kind="stable")]
    return SparseCode(working[order].astype(np.int64), weights[order]), working


def _fista(gram: np.ndarray, linear: np.ndarray, penalty: float, nonnegative: bool) -> np.ndarray:
    step = 1.0 / max(float(np.linalg.eigvalsh(gram)[-1]), np.finfo(float).tiny)
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
