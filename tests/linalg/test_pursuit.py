"""Gradient pursuit against a plain transcription of the paper, and its promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.pursuit import gradient_pursuit


def _atoms(rng: np.random.Generator, n_features: int, d_model: int) -> np.ndarray:
    atoms = rng.standard_normal((n_features, d_model))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def _plain(atoms: np.ndarray, vector: np.ndarray, steps: int) -> np.ndarray:
    """Three passes over the dictionary a step, dense weights, as the papers write it."""
    weights = np.zeros(len(atoms))
    used = np.zeros(len(atoms), dtype=bool)
    for _ in range(steps):
        residual = vector - atoms.T @ weights
        products = atoms @ residual
        used[np.argmax(np.abs(products))] = True
        gradient = np.where(used, products, 0.0)
        step = atoms.T @ gradient
        weights = weights + (step @ residual) / (step @ step) * gradient
    return weights


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_dense_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms, vector = _atoms(rng, 60, 16), rng.standard_normal(16)
    code = gradient_pursuit(atoms, vector, 4)
    steps = next(steps for steps in range(4, 400) if np.count_nonzero(_plain(atoms, vector, steps)) == 4)
    expected = _plain(atoms, vector, steps)
    assert set(code.features.tolist()) == set(np.flatnonzero(expected).tolist())
    np.testing.assert_allclose(code.coefficients, expected[code.features], atol=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([np.float32, np.float64]))
def test_k_counts_distinct_features_and_more_never_fit_worse(seed: int, k: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    atoms, vector = _atoms(rng, 40, 12).astype(dtype), rng.standard_normal(12)
    errors = []
    for size in (k, k + 1):
        code = gradient_pursuit(atoms, vector, size)
        assert len(code.features) == len(set(code.features.tolist())) == size
        errors.append(float(np.linalg.norm(vector - code.coefficients @ atoms[code.features])))
    assert errors[1] <= errors[0] + 1e-6


def test_signs_are_kept() -> None:
    atoms = np.eye(5)
    code = gradient_pursuit(atoms, np.array([0.0, -3.0, 0.0, 2.0, 0.1]), 2)
    assert dict(zip(code.features.tolist(), code.coefficients.tolist(), strict=True)) == pytest.approx(
        {1: -3.0, 3: 2.0}, abs=1e-9
    )


def test_an_exactly_rebuilt_vector_ends_early() -> None:
    code = gradient_pursuit(np.eye(4), np.array([0.0, 2.0, 0.0, 0.0]), 3)
    assert code.features.tolist() == [1]
    assert code.coefficients.tolist() == [2.0]
