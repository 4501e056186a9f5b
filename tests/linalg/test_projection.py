"""The laws of projection, on random matrices of every layout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.projection import (
    DependentDirectionsError,
    orthonormal_basis,
    project,
    transport,
    unit,
    without,
)

D = 24


def _basis(seed: int, rank: int) -> np.ndarray:
    return orthonormal_basis(list(np.random.default_rng(seed).standard_normal((rank, D))))


def _matrix(seed: int, axis: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    shape = [5, 7, 6]
    shape[axis] = D
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _components(matrix: torch.Tensor, basis: np.ndarray, axis: int) -> torch.Tensor:
    return matrix.double().movedim(axis, -1) @ torch.from_numpy(basis).T


seeds = st.integers(0, 10_000)


@settings(max_examples=40)
@given(seed=seeds, rank=st.integers(1, 4), axis=st.integers(0, 2), strength=st.floats(-2, 3))
def test_each_component_keeps_one_minus_its_strength(
    seed: int, rank: int, axis: int, strength: float
) -> None:
    basis, matrix = _basis(seed, rank), _matrix(seed, axis)
    strengths = [strength / (i + 1) for i in range(rank)]
    edited = project(matrix, basis, strengths, residual_axis=axis)
    kept = 1 - torch.tensor(strengths, dtype=torch.float64)
    expected = _components(matrix, basis, axis) * kept
    torch.testing.assert_close(_components(edited, basis, axis), expected, atol=2e-5, rtol=0)
    change = (edited - matrix).double().movedim(axis, -1)  # nothing outside the subspace moves
    q = torch.from_numpy(basis)
    torch.testing.assert_close(change, (change @ q.T) @ q, atol=2e-5, rtol=0)


@settings(max_examples=20)
@given(seed=seeds, rank=st.integers(1, 3), axis=st.integers(0, 2))
def test_twice_is_once_and_reflecting_twice_is_nothing(seed: int, rank: int, axis: int) -> None:
    basis, matrix = _basis(seed, rank), _matrix(seed, axis, torch.float64)
    once = project(matrix, basis, [1.0] * rank, residual_axis=axis)
    torch.testing.assert_close(
        project(once, basis, [1.0] * rank, residual_axis=axis), once, atol=1e-12, rtol=0
    )
    reflected = project(matrix, basis, [2.0] * rank, residual_axis=axis)
    torch.testing.assert_close(reflected.norm(), matrix.norm())
    back = project(reflected, basis, [2.0] * rank, residual_axis=axis)
    torch.testing.assert_close(back, matrix, atol=1e-12, rtol=0)


def test_strength_zero_changes_no_bit() -> None:
    matrix = _matrix(1, 0)
    assert torch.equal(project(matrix, _basis(1, 2), [0.0, 0.0], residual_axis=0), matrix)


def test_a_basis_keeps_the_first_direction_and_its_sign() -> None:
    directions = list(np.random.default_rng(0).standard_normal((4, D)))
    basis = orthonormal_basis(directions)
    np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(basis[0], unit(directions[0]), atol=1e-14)
    for k in range(1, 5):  # row k is the part of direction k that is orthogonal to those before
        rest = directions[k - 1] - basis[: k - 1].T @ (basis[: k - 1] @ directions[k - 1])
        np.testing.assert_allclose(basis[k - 1], unit(rest), atol=1e-12)


def test_dependent_and_empty_directions_are_refused() -> None:
    one, two = np.random.default_rng(0).standard_normal((2, D))
    with pytest.raises(DependentDirectionsError) as caught:
        orthonormal_basis([one, two, one - 3 * two])
    assert caught.value.index == 2
    for bad in (np.zeros(D), np.full(D, np.nan), np.full(D, np.inf)):
        with pytest.raises(ValueError, match="finite and longer than zero"):
            orthonormal_basis([bad])


@settings(max_examples=30)
@given(seed=seeds, spread=st.floats(0.1, 1.0))
def test_transport_clears_what_passes_a_norm_and_the_plain_direction_does_not(
    seed: int, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    gain, direction = np.exp(spread * rng.standard_normal(D)), unit(rng.standard_normal(D))
    matrix = torch.from_numpy(rng.standard_normal((D, 9)))

    def written(edited: torch.Tensor) -> float:
        return float(np.abs(direction @ (gain[:, None] * edited.numpy())).max())

    carried = project(matrix, transport(direction, gain)[None], [1.0], residual_axis=0)
    plain = project(matrix, direction[None], [1.0], residual_axis=0)
    assert written(carried) < 1e-12 < 1e-4 < written(plain)


def test_transport_refuses_a_gain_that_passes_nothing() -> None:
    with pytest.raises(ValueError, match="finite and longer than zero"):
        transport(np.eye(D)[0], 1 - np.eye(D)[0])


def test_a_direction_is_carried_back_through_a_layer_norm() -> None:
    rng = np.random.default_rng(3)
    r, gain, bias = (rng.standard_normal(16) for _ in range(3))
    matrix, inputs = rng.standard_normal((16, 5)), rng.standard_normal((5, 40))
    q = transport(r, gain, centred=True)
    assert abs(q.sum()) < 1e-12 and np.isclose(np.linalg.norm(q), 1)

    def behind(written: np.ndarray, added: np.ndarray) -> np.ndarray:
        centred = written - written.mean(axis=0)
        return gain[:, None] * centred / centred.std(axis=0) + added[:, None]

    unit = r / np.linalg.norm(r)
    edited = behind((matrix - np.outer(q, q @ matrix)) @ inputs, bias - unit * (unit @ bias))
    assert np.abs(unit @ edited).max() < 1e-12
    assert np.abs(unit @ behind(matrix @ inputs, bias)).max() > 0.1
    plain = transport(r, gain)
    naive = behind((matrix - np.outer(plain, plain @ matrix)) @ inputs, bias - unit * (unit @ bias))
    assert np.abs(unit @ naive).max() > 1e-3, "the mean must be carried through as well"


@settings(max_examples=60)
@given(seed=st.integers(0, 999), apart=st.floats(1e-4, 10))
def test_without_is_orthogonal_even_where_two_means_are_nearly_one(seed: int, apart: float) -> None:
    rng = np.random.default_rng(seed)
    negative = 100 * rng.standard_normal((3, 5, 24))
    positive = negative * (1 + apart) + apart * rng.standard_normal(negative.shape)
    left = without(positive - negative, negative)
    cosines = (left * negative).sum(-1) / np.linalg.norm(left, axis=-1) / np.linalg.norm(negative, axis=-1)
    assert np.abs(cosines).max() < 1e-13
    np.testing.assert_array_equal(without(positive, 0 * negative), positive)
