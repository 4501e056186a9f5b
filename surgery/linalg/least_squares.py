"""Least squares with weights at or above zero, for a handful of atoms.

min ‖v − wᵀ A‖²,  w ≥ 0        by the active sets of Lawson and Hanson (1974, chapter 23)
"""

from __future__ import annotations

import numpy as np

_TOLERANCE = 1e-12
_ROUNDS = 30


def nonnegative_least_squares(atoms: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The weights (k,) of atoms (k, d) that fit a target (d,) best and are not negative, float64."""
    k = len(atoms)
    weights, free = np.zeros(k), np.zeros(k, dtype=bool)
    tolerance = _TOLERANCE * max(1.0, float(np.abs(atoms @ target).max(initial=0.0)))
    for _ in range(_ROUNDS * max(1, k)):
        slope = np.where(free, -np.inf, atoms @ (target - weights @ atoms))
        if free.all() or slope.max() <= tolerance:
            break
        free[slope.argmax()] = True
        weights = _fit_inside(atoms, target, weights, free)
    return weights


def _fit_inside(atoms: np.ndarray, target: np.ndarray, weights: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The fit on the free atoms; those it would make negative are held at 0 (`free` is changed in place)."""
    while free.any():
        trial = np.zeros(len(weights))
        trial[free] = np.linalg.lstsq(atoms[free].T, target, rcond=None)[0]
        if trial[free].min() > 0:
            return trial
        falling = free & (trial <= 0)
        steps = weights[falling] / (weights[falling] - trial[falling] + np.finfo(float).tiny)
        weights = weights + steps.min() * (trial - weights)
        free &= weights > np.finfo(float).eps
        weights = np.where(free, weights, 0.0)
    return np.zeros(len(weights))
