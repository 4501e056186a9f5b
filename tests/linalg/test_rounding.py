"""Rounding: nearest is the type's own; feedback keeps the component and stays within two steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.projection import orthonormal_basis, project
from surgery.linalg.rounding import feedback_schedule, needs_rounding, round_feedback, round_nearest

HALF = [torch.bfloat16, torch.float16]
D, COLUMNS = 256, 40


def _problem(seed: int, rank: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, float]:
    """An exactly projected matrix (d_model, columns), its basis, and the size of what was removed."""
    generator = torch.Generator().manual_seed(seed)
    stored = (torch.randn(D, COLUMNS, generator=generator) * 0.02).to(dtype).float()
    basis = orthonormal_basis(list(np.random.default_rng(seed).standard_normal((rank, D))))
    removed = float((torch.from_numpy(basis) @ stored.double()).norm())
    return project(stored, basis, [1.0] * rank, residual_axis=0), torch.from_numpy(basis), removed


def _steps(rounded: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    _, exponent = torch.frexp(exact)
    step = torch.finfo(rounded.dtype).eps * 2.0 ** (exponent - 1)
    return (rounded.float() - exact).abs() / step


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(("rank", "factor"), [(1, 50), (3, 10)])
def test_feedback_keeps_what_nearest_loses(dtype: torch.dtype, rank: int, factor: int) -> None:
    exact, basis, removed = _problem(0, rank, dtype)
    nearest = float((basis @ round_nearest(exact, dtype).double()).norm()) / removed
    feedback = (
        float((basis @ round_feedback(exact, feedback_schedule(basis), dtype).double()).norm()) / removed
    )
    assert feedback < nearest / factor


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000), rank=st.integers(1, 4), dtype=st.sampled_from(HALF), power=st.integers(-6, 6)
)
def test_feedback_stays_within_two_steps(seed: int, rank: int, dtype: torch.dtype, power: int) -> None:
    exact, basis, _ = _problem(seed, rank, dtype)
    exact = exact * 2.0**power
    normal = exact.abs() > torch.finfo(dtype).smallest_normal * 4
    steps = _steps(round_feedback(exact, feedback_schedule(basis), dtype), exact)
    assert float(steps[normal].max()) <= 2.0
    assert float(_steps(round_nearest(exact, dtype), exact)[normal].max()) <= 0.5


@pytest.mark.parametrize("dtype", HALF)
def test_columns_do_not_see_each_other(dtype: torch.dtype) -> None:
    exact, basis, _ = _problem(5, 1, dtype)
    schedule = feedback_schedule(basis)
    whole = round_feedback(exact, schedule, dtype)
    parts = [round_feedback(part.contiguous(), schedule, dtype) for part in exact.split(13, dim=1)]
    assert torch.equal(torch.cat(parts, 1), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_type_that_holds_float32_is_left_alone(dtype: torch.dtype) -> None:
    exact, basis, _ = _problem(1, 2, torch.bfloat16)
    assert not needs_rounding(dtype)
    assert torch.equal(round_feedback(exact, feedback_schedule(basis), dtype), exact.to(dtype))


def test_zeros_stay_zero_and_sparse_directions_do_no_harm() -> None:
    exact = torch.randn(D, 5, generator=torch.Generator().manual_seed(2))
    exact[::3] = 0
    basis = torch.zeros(2, D, dtype=torch.float64)
    basis[0, 4], basis[1, 7] = 1, 1  # all others weigh nothing
    rounded = round_feedback(exact, feedback_schedule(basis), torch.bfloat16)
    assert bool(torch.isfinite(rounded).all()) and bool((rounded[::3] == 0).all())
    assert torch.equal(rounded, exact.bfloat16())


def test_every_coordinate_is_rounded_once() -> None:
    basis = torch.from_numpy(orthonormal_basis(list(np.random.default_rng(0).standard_normal((2, 1000)))))
    order = torch.cat([block.coordinates for block in feedback_schedule(basis).blocks])
    assert sorted(order.tolist()) == list(range(1000))
    weights = basis.square().sum(0)[order]
    assert bool((weights[:-1] >= weights[1:]).all())
