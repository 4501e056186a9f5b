"""Returning an edited matrix to the precision it is stored in.

`nearest` is round to nearest, ties to even. What it leaves along a direction q is a random sum of rounding errors,
Σ_i q_i ε_i, about 1e-3 of the component that was removed in bfloat16. `feedback` rounds the residual coordinates in turn, those
that weigh most first, and lets each make up for the errors so far: with the running error a = Σ q_i (w'_i − w_i) and the
weight still to come G = Σ q_i q_iᵀ over the coordinates not yet rounded, coordinate i is rounded from

    w_i − q_iᵀ G⁻¹ a

which spreads the correction over the rest by least squares. Each element stays within one step of where nearest would put it.
"""

from __future__ import annotations

import torch

_EPSILON = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
_SMALLEST = {torch.bfloat16: 2.0**-133, torch.float16: 2.0**-24}
_SINGULAR = 1e-12


def needs_rounding(dtype: torch.dtype) -> bool:
    """Whether storing a float32 value in this type loses anything."""
    return dtype in _EPSILON


def step(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Upper bound of the distance between neighbouring numbers of `dtype` around each value."""
    return values.abs() * _EPSILON[dtype] + _SMALLEST[dtype] * (values != 0)


def round_nearest(exact: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Round to nearest, ties to even."""
    return exact.to(dtype)


def round_feedback(exact: torch.Tensor, basis: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Round a matrix so that its components along `basis` keep their value.

    Args:
        exact: (d_model, columns) in float32, the residual axis first; columns are independent of each other.
        basis: orthonormal rows (k, d_model) in float64.
        dtype: the type to store; where it holds float32 exactly this is `round_nearest`.

    Returns:
        (d_model, columns) in `dtype`. Exact zeros stay zero.
    """
    if not needs_rounding(dtype):
        return round_nearest(exact, dtype)
    rounded = torch.empty_like(exact, dtype=dtype)
    error = torch.zeros(len(basis), exact.shape[1], dtype=exact.dtype)  # a, (k, columns)
    order = torch.argsort((basis**2).sum(0), descending=True, stable=True).tolist()
    gains = _gains(basis, order).to(exact.dtype)  # q_iᵀ G⁻¹, (d_model, k)
    q = basis.T.to(exact.dtype).contiguous()  # (d_model, k)
    for i in order:
        row = exact[i]
        limit = step(row, dtype)
        wanted = row - torch.minimum(torch.maximum(gains[i] @ error, -limit), limit)
        rounded[i] = wanted.to(dtype)
        error += torch.outer(q[i], rounded[i].to(exact.dtype) - row)
    return rounded


def _gains(basis: torch.Tensor, order: list[int]) -> torch.Tensor:
    """q_iᵀ G_i⁻¹ for each coordinate, G_i over itself and those after it in `order`. Shape (d_model, k), float64."""
    ordered = basis[:, order].T  # (d_model, k)
    products = ordered[:, :, None] * ordered[:, None, :]
    remaining = products.flip(0).cumsum(0).flip(0)  # (d_model, k, k)
    scale = remaining.diagonal(dim1=1, dim2=2).sum(1)
    inverse = torch.linalg.pinv(remaining, rtol=_SINGULAR, hermitian=True)
    inverse[scale == 0] = 0
    gains = torch.empty_like(ordered)
    gains[order] = (ordered[:, None, :] @ inverse)[:, 0, :]
    return gains
