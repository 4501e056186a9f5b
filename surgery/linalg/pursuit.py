"""Gradient pursuit: a vector as a signed sum of a few unit atoms (Blumensath and Davies 2008).

Each step takes the atom j with the largest |⟨d_j, r⟩| into the support Γ and moves the coefficients along the
gradient on it by the exact line search:  g = D_Γ r,  c = gᵀ D_Γ,  a = ⟨c, r⟩ / ⟨c, c⟩,  w_Γ += a g,  r = v −
w_Γᵀ D_Γ.

The gathered atoms D_Γ are kept, so a step reads the dictionary once. A step that picks an atom again refines
the coefficients; steps go on until k distinct atoms are in use, which is what k means here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MOST_STEPS = 100
_EXACT = 1e-12


@dataclass(frozen=True)
class SparseCode:
    """Feature numbers in the order they were taken, (k,) int64, and their signed coefficients, (k,)
    float64."""

    features: np.ndarray
    coefficients: np.ndarray


def gradient_pursuit(atoms: np.ndarray, vector: np.ndarray, k: int) -> SparseCode:
    """Code a vector with k distinct atoms.

    Args:
        atoms: (n_features, d_model) unit rows.
        vector: (d_model,).
        k: number of distinct atoms; fewer come back only where fewer rebuild the vector exactly.

    Returns:
        The code; coefficients are for unit atoms and keep their signs.
    """
    target = np.asarray(vector, dtype=np.float64)
    residual, support = target, np.empty(0, dtype=np.int64)
    chosen, coefficients = np.empty((0, target.shape[0])), np.empty(0)
    for _ in range(_MOST_STEPS * k):
        picked = int(np.argmax(np.abs(atoms @ residual.astype(atoms.dtype))))
        if picked not in support:
            support = np.append(support, picked)
            chosen = np.vstack([chosen, atoms[picked].astype(np.float64)])
            coefficients = np.append(coefficients, 0.0)
        gradient = chosen @ residual
        step = gradient @ chosen
        if step @ step > 0.0:
            coefficients = coefficients + (step @ residual) / (step @ step) * gradient
        residual = target - coefficients @ chosen
        if len(support) == k or np.linalg.norm(residual) <= _EXACT * np.linalg.norm(target):
            break
    return SparseCode(support, coefficients)
