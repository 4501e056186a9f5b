"""Orthogonal projection of matrices that write to the residual stream.

With orthonormal rows q_1 … q_k and strengths λ_1 … λ_k a writer W whose residual axis comes first becomes

    W' = W − Σ_i λ_i q_i (q_iᵀ W)

(Arditi et al. 2024, section 2.4, for k = 1). Strength 1 removes the component, 2 reflects it, a negative one
strengthens it. A matrix whose residual axis comes last (an embedding) is treated as its transpose, a bias as
one row. Where an RMSNorm with gain g stands between writer and stream, the stream receives g∘(Wx) up to a
positive scalar, so r is removed from the stream by projecting with g∘r, normalised. A LayerNorm also takes
the mean over coordinates away, with C = I − 11ᵀ/d_model: the stream receives g∘(CWx) + b up to a positive
scalar before b, so W is projected with C(g∘r), and b, which the norm adds itself, with r.

Columns may be given their length back (grimjim's norm-preserving ablation, with a limit c on the factor):

    w'_j ← s_j w'_j,   s_j = min(‖w_j‖ / ‖w'_j‖, c),   ‖w'_j‖² = ‖w_j‖² − Σ_i λ_i (2 − λ_i) (q_iᵀ w_j)²

which scales what W writes for each of its inputs, so that at strength 1 nothing along q comes back.

Several directions are orthonormalised first, in the order given. The strength of the first then belongs to
that direction itself, the strength of each later one to the part of it that is orthogonal to those before.

Arithmetic runs in the tile's own type (float32, or float64 for float64 weights); components are summed over
tiles in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from surgery.linalg.units import ordered_basis

Array = npt.NDArray[np.float64]

DEPENDENT = 1e-6
"""A direction whose unit vector keeps less than this length beside those before it counts as dependent on
them.
"""


class DependentDirectionsError(ValueError):
    """A direction lies in the span of those before it. `index` says which."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"direction {index} lies in the span of those before it")


def orthonormal_basis(directions: Sequence[Array]) -> Array:
    """Orthonormal rows spanning the directions, the first row along the first direction. Shape (k, d_model),
    float64.

    Raises:
        DependentDirectionsError: one of them lies in the span of those before it.
        ValueError: one of them is zero or not finite.
    """
    basis, added = ordered_basis(np.stack([unit(each) for each in directions]))
    for index, length in enumerate(added):
        if length < DEPENDENT:
            raise DependentDirectionsError(index)
    return basis


def unit(vector: Array) -> Array:
    """The vector at length 1, in float64.

    Raises:
        ValueError: it is zero or not finite.
    """
    vector = np.asarray(vector, dtype=np.float64)
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length == 0:
        raise ValueError("a direction must be finite and longer than zero")
    return vector / length


def without(vectors: Array, others: Array) -> Array:
    """Vectors without their components along others, pair by pair: (…, d_model) both, float64.

    Taken out twice: two means are often so alike (cosine above 0.99) that one pass leaves its rounding. A
    zero takes out nothing.
    """
    left = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(others, axis=-1, keepdims=True)
    units = np.asarray(others, dtype=np.float64) / np.where(lengths > 0, lengths, 1)
    for _ in range(2):
        left = left - (left * units).sum(-1, keepdims=True) * units
    return left


def transport(direction: Array, gain: Array, *, centred: bool = False) -> Array:
    """What a writer must be projected with so that `direction` leaves the stream behind a norm of this gain:
    g∘r, unit, and centred where the norm is (a LayerNorm).

    Raises:
        ValueError: the gain is zero wherever the direction is not, so nothing of it is written at all.
    """
    carried = np.asarray(gain, dtype=np.float64) * np.asarray(direction, dtype=np.float64)
    return unit(carried - carried.mean() if centred else carried)


def stretches(
    squares: torch.Tensor, components: torch.Tensor, strengths: torch.Tensor, most: float
) -> torch.Tensor:
    """The factors s_j that give projected columns their length back, at most `most`.

    Args:
        squares: ‖w_j‖² of the columns as they were, (columns,) float64.
        components: qᵀW, (k, columns) float64.
        strengths: λ, (k,) float64.

    Returns:
        (columns,) float64; 1 for a column of zeros.
    """
    left = squares - ((strengths * (2 - strengths))[:, None] * components.square()).sum(0)
    factors = torch.sqrt(squares / torch.maximum(left, squares / most**2))
    return torch.where(squares > 0, factors, torch.ones_like(squares))


def project(
    matrix: torch.Tensor,
    basis: Array,
    strengths: Sequence[float],
    *,
    residual_axis: int,
    stretch_at_most: float | None = None,
) -> torch.Tensor:
    """The whole projection of a matrix held in memory; the reference for the executor's tiles.

    Args:
        matrix: any shape with d_model entries on `residual_axis`.
        basis: orthonormal rows (k, d_model).
        strengths: λ, one per row.
        residual_axis: the axis that the residual stream runs along.
        stretch_at_most: give every column its length back, by at most this factor; None leaves them.

    Returns:
        A new tensor of the same shape and type.
    """
    wide = torch.promote_types(matrix.dtype, torch.float32)
    rows = matrix.movedim(residual_axis, -1).to(wide)  # (…, d_model)
    q = torch.from_numpy(basis).to(wide)
    scaled = (rows @ q.T) * torch.tensor(strengths, dtype=wide)
    projected = rows - scaled @ q
    if stretch_at_most is not None:
        flat, precise = rows.reshape(-1, rows.shape[-1]).double(), torch.from_numpy(basis)
        lambdas = torch.tensor(strengths, dtype=torch.float64)
        factors = stretches(flat.square().sum(1), precise @ flat.T, lambdas, stretch_at_most)
        projected = projected * factors.reshape(*rows.shape[:-1], 1).to(wide)
    return projected.movedim(-1, residual_axis).to(matrix.dtype)
