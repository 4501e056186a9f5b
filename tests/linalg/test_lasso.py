"""The L1 code against scikit-learn and against its own optimality conditions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.atoms import Atoms, SparseCode
from surgery.linalg.lasso import lasso_path, refit_code


def _atoms(rng: np.random.Generator, n_features: int = 120, d_model: int = 20) -> np.ndarray:
    atoms = rng.standard_normal((n_features, d_model))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def _dense(code: SparseCode, n: int) -> np.ndarray:
    weights = np.zeros(n)
    weights[code.features] = code.coefficients
    return weights


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_scikit_learn(seed: int, nonnegative: bool) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(seed)
    atoms, vector = _atoms(rng), rng.standard_normal(20)
    for code in lasso_path(atoms, vector, 6, nonnegative=nonnegative):
        left = vector - code.coefficients @ atoms[code.features]
        penalty = float(np.abs(atoms[code.features] @ left).max())
        theirs = linear_model.Lasso(
            alpha=penalty / 20, fit_intercept=False, positive=nonnegative, tol=1e-14, max_iter=200_000
        ).fit(atoms.T, vector)
        np.testing.assert_allclose(_dense(code, len(atoms)), theirs.coef_, atol=1e-8)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 8), st.booleans())
def test_exactly_k_atoms_and_nothing_left_to_gain(seed: int, k: int, nonnegative: bool) -> None:
    rng = np.random.default_rng(seed)
    atoms, vector = _atoms(rng), rng.standard_normal(20)
    path = lasso_path(atoms, vector, k, nonnegative=nonnegative)
    assert [len(each.features) for each in path] == list(range(1, k + 1))
    code = path[-1]
    assert len(set(code.features.tolist())) == len(code.features) == k
    products = atoms @ (vector - code.coefficients @ atoms[code.features])
    inside = products[code.features] * np.sign(code.coefficients)
    np.testing.assert_allclose(inside, inside[0], rtol=1e-8)
    others = np.delete(products if nonnegative else np.abs(products), code.features)
    assert others.max() <= inside[0] * (1 + 1e-8)
    assert not nonnegative or (code.coefficients > 0).all()


def test_rows_of_any_length_give_the_code_of_unit_rows() -> None:
    rng = np.random.default_rng(5)
    atoms, vector, lengths = _atoms(rng), rng.standard_normal(20), rng.uniform(0.2, 5.0, 120)
    expected = lasso_path(atoms, vector, 3)[-1]
    found = lasso_path(Atoms(atoms * lengths[:, None], lengths), vector, 3)[-1]
    assert found.features.tolist() == expected.features.tolist()
    np.testing.assert_allclose(found.coefficients, expected.coefficients, atol=1e-10)


def test_a_refit_is_the_least_squares_fit() -> None:
    rng = np.random.default_rng(6)
    atoms, vector = _atoms(rng), rng.standard_normal(20)
    code = refit_code(atoms, vector, lasso_path(atoms, vector, 4)[-1])
    residual = vector - code.coefficients @ atoms[code.features]
    np.testing.assert_allclose(atoms[code.features] @ residual, 0.0, atol=1e-12)


def test_nothing_to_find() -> None:
    assert lasso_path(np.eye(4), np.zeros(4), 2) == []
    assert lasso_path(np.eye(4), np.array([0.0, -1.0, 0.0, 0.0]), 2, nonnegative=True) == []
    assert [len(each.features) for each in lasso_path(np.eye(4), np.array([0.0, 2.0, 0.0, 0.0]), 3)] == [1]
