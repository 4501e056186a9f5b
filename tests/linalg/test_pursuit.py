"""Gradient pursuit against a plain transcription of the paper, and its promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.atoms import Atoms
from surgery.linalg.matching import nonnegative_matching_pursuits, orthogonal_matching_pursuits
from surgery.linalg.pursuit import gradient_pursuit, gradient_pursuits


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


@settings(max_examples=50)
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


def test_many_vectors_at_once_are_each_coded_as_alone() -> None:
    rng = np.random.default_rng(0)
    atoms, vectors = _atoms(rng, 9000, 16), rng.standard_normal((7, 16))
    together = gradient_pursuits(atoms, vectors, 5)
    for vector, path in zip(vectors, together, strict=True):
        for size, code in enumerate(path, start=1):
            alone = gradient_pursuit(atoms, vector, size)
            assert code.features.tolist() == alone.features.tolist()
            np.testing.assert_allclose(code.coefficients, alone.coefficients, atol=1e-12)


@pytest.mark.parametrize(
    "method", [gradient_pursuits, orthogonal_matching_pursuits, nonnegative_matching_pursuits]
)
def test_rows_of_any_length_give_the_code_of_unit_rows(method: Any) -> None:
    rng = np.random.default_rng(1)
    atoms, vectors, lengths = _atoms(rng, 80, 16), rng.standard_normal((3, 16)), rng.uniform(0.1, 9.0, 80)
    for plain, scaled in zip(
        method(atoms, vectors, 4), method(Atoms(atoms * lengths[:, None], lengths), vectors, 4), strict=True
    ):
        assert plain[-1].features.tolist() == scaled[-1].features.tolist()
        np.testing.assert_allclose(plain[-1].coefficients, scaled[-1].coefficients, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_orthogonal_matching_pursuit_equals_scikit_learn(seed: int) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(seed)
    atoms, vector = _atoms(rng, 90, 16), rng.standard_normal(16)
    code = orthogonal_matching_pursuits(atoms, vector[None], 5)[0][-1]
    expected = linear_model.orthogonal_mp(atoms.T, vector, n_nonzero_coefs=5)
    assert set(code.features.tolist()) == set(np.flatnonzero(expected).tolist())
    np.testing.assert_allclose(code.coefficients, expected[code.features], atol=1e-10)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_nonnegative_form_meets_its_conditions(seed: int, k: int) -> None:
    """Weights above 0, residual orthogonal to the support, and the fit of scipy's nnls on that support."""
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(seed)
    atoms, vector = _atoms(rng, 60, 12), rng.standard_normal(12)
    path = nonnegative_matching_pursuits(atoms, vector[None], k)[0]
    assert len(path) == k
    for size, code in enumerate(path, start=1):
        assert len(set(code.features.tolist())) == size
        expected, _ = optimize.nnls(atoms[code.features].T, vector)
        np.testing.assert_allclose(code.coefficients, expected, atol=1e-10)
        assert (code.coefficients > 0).all()


def test_nonnegative_codes_stop_where_nothing_points_their_way() -> None:
    target = np.array([[2.0, -3.0, 0.0]])
    assert [code.features.tolist() for code in nonnegative_matching_pursuits(np.eye(3), target, 3)[0]] == [
        [0]
    ]
    (path,) = gradient_pursuits(np.eye(3), target, 3, nonnegative=True)
    assert path[-1].features.tolist() == [0]
    assert path[-1].coefficients.tolist() == [2.0]


@pytest.mark.parametrize(("n", "passes"), [(1, 2), (2, 4)])
def test_one_vector_takes_two_passes_and_several_one_a_step(n: int, passes: int) -> None:
    class Counted(np.ndarray):
        read = 0

        def __getitem__(self, index: Any) -> Any:
            if isinstance(index, slice):
                Counted.read += len(range(*index.indices(len(self))))
            return np.asarray(self)[index]

    rng = np.random.default_rng(2)
    rows = _atoms(rng, 5000, 64).view(Counted)
    for path in gradient_pursuits(rows, rng.standard_normal((n, 64)), 4):
        assert len(path) == 4
    assert Counted.read == passes * 5000
