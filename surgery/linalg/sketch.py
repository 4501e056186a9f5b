"""One-pass sketches of a matrix and of what changed in it, and what can be read from them.

With Ω of independent standard normal columns, Y = MΩ (Halko, Martinsson and Tropp 2011, section 4.1) has the
leading left singular vectors of M; its Gram matrix YᵀY is k × k, so nothing large is decomposed. For two
matrices sketched with the same Ω every linear relation Δ = −UΛUᵀA survives:

    Uᵀ(ΔΩ) = −Λ Uᵀ(AΩ)

so Λ is a k × k least-squares problem, and how badly it is solved says how far Δ is from any such relation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgery.linalg.units import nonzero

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """`values` falling, in the sketch's scale (σ‖vᵀΩ‖); `vectors` (d, k) the left ones, orthonormal."""

    values: Array
    vectors: Array


@dataclass(frozen=True)
class Fit:
    """A least-squares relation C ≈ −ΛX. `rest` is the share of ‖C‖² that it does not explain."""

    matrix: Array  # Λ, (k, k)
    rest: float

    @property
    def skew(self) -> float:
        """‖Λ − Λᵀ‖ / 2‖Λ‖: 0 for an orthogonal ablation, 1 for a rotation by a right angle."""
        length = float(np.linalg.norm(self.matrix))
        return float(np.linalg.norm(self.matrix - self.matrix.T)) / (2 * length) if length else 0.0

    @property
    def strengths(self) -> tuple[float, ...]:
        """Eigenvalues of the symmetric part of Λ, falling."""
        values = np.linalg.eigvalsh((self.matrix + self.matrix.T) / 2)
        return tuple(float(value) for value in values[::-1])


def spectrum_of(sketch: Array) -> Spectrum:
    """Left singular values and vectors of a sketch (d, k)."""
    values, right = np.linalg.eigh(sketch.T @ sketch)
    values = np.sqrt(np.maximum(values[::-1], 0.0))
    vectors = sketch @ right[:, ::-1]
    return Spectrum(values, vectors / nonzero(np.linalg.norm(vectors, axis=0)))


def noise_edge(row_energies: Array, n: int, columns: int) -> float:
    """The largest singular value to expect of a sketch of independent noise E (d, n).

    ‖EΩ‖ ≤ ‖E‖_F + √columns ‖E‖ up to small terms, and ‖E‖ ≤ √(largest row's energy) (1 + √(d / n)) where the
    columns are alike (Vershynin 2010, theorem 5.32; equality for white noise).

    Args:
        row_energies: expected squared length of each row of E, (d,).
        n: its columns.
        columns: those of Ω.
    """
    widest = np.sqrt(row_energies.max()) * (1 + np.sqrt(len(row_energies) / n))
    return float(np.sqrt(row_energies.sum()) + np.sqrt(columns) * widest)


def fit_relation(change: Array, before: Array) -> Fit:
    """Solve C ≈ −ΛX: `change` C (k, columns), `before` X (m, columns)."""
    solution, *_ = np.linalg.lstsq(before.T, change.T, rcond=None)
    energy = float(np.sum(change**2))
    rest = float(np.sum((change.T - before.T @ solution) ** 2))
    return Fit(np.asarray(-solution.T, dtype=np.float64), rest / energy if energy else 1.0)


def shared_subspace(vectors: Array, weights: Array) -> tuple[Array, Array]:
    """What unit columns (d, m) share: eigenvectors of Σ w v vᵀ as rows, and each one's share of Σ w."""
    weighted = vectors * np.sqrt(weights / weights.sum())
    values, right = np.linalg.eigh(weighted.T @ weighted)
    order = np.argsort(values)[::-1]
    values = np.maximum(values[order], 0.0)
    kept = values > 1e-12
    rows = (weighted @ right[:, order][:, kept] / np.sqrt(values[kept])).T
    return rows, values[kept]
