"""All methods on a dictionary's own rows, whatever their length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from surgery.dictionary.coding import METHODS, code_paths, ranked_path
from surgery.dictionary.dictionary import Dictionary, unit_rows
from surgery.errors import DictionaryError


@pytest.fixture
def made() -> Dictionary:
    rows = np.random.default_rng(0).standard_normal((60, 16)).astype(np.float32)
    rows *= np.random.default_rng(1).uniform(0.2, 4.0, (60, 1)).astype(np.float32)
    zeros = np.zeros(60, np.float32)
    return Dictionary("made", "standard", rows, zeros, rows, np.zeros(16, np.float32), None, True, None)


@pytest.mark.parametrize("method", METHODS)
def test_every_size_has_that_many_distinct_features(made: Dictionary, method: str) -> None:
    vectors = np.random.default_rng(2).standard_normal((3, 16))
    for vector, path in zip(vectors, code_paths(made, vectors, 5, method=method), strict=True):
        assert [len(set(code.features.tolist())) for code in path] == [1, 2, 3, 4, 5]
        refitted = code_paths(made, vector[None], 5, method=method, refit=True)[0][-1]
        assert set(refitted.features.tolist()) == set(path[-1].features.tolist())
        residual = vector - refitted.coefficients @ unit_rows(made, refitted.features)
        np.testing.assert_allclose(unit_rows(made, refitted.features) @ residual, 0.0, atol=1e-10)


def test_the_naive_baseline_takes_the_largest_cosines(made: Dictionary) -> None:
    vector = np.random.default_rng(3).standard_normal(16)
    cosines = unit_rows(made, range(made.n_features)) @ vector
    code = code_paths(made, vector[None], 3, method="decoder_cosine")[0][-1]
    assert code.features.tolist() == np.argsort(-np.abs(cosines))[:3].tolist()
    np.testing.assert_allclose(code.coefficients, cosines[code.features], rtol=1e-5)


def test_a_row_of_zeros_is_never_taken(made: Dictionary) -> None:
    rows = made.W_dec.copy()
    rows[:50] = 0.0
    vector = np.random.default_rng(4).standard_normal(16)
    for method in ("gradient_pursuit", "omp", "decoder_cosine", "fista"):
        code = code_paths(replace(made, W_dec=rows), vector[None], 4, method=method)[0][-1]
        assert (code.features >= 50).all()


def test_scores_of_nothing_are_left_out() -> None:
    path = ranked_path(np.array([0.0, 2.0, 1.0]), np.array([0.0, -2.0, 1.0]), 3)
    assert [code.features.tolist() for code in path] == [[1], [1, 2]]
    assert path[-1].coefficients.tolist() == [-2.0, 1.0]


def test_what_is_no_method_or_not_finite_is_refused(made: Dictionary) -> None:
    vector: Any = np.ones((1, 16))
    with pytest.raises(DictionaryError, match="no method is called 'ito'; known: gradient_pursuit"):
        code_paths(made, vector, 2, method="ito")
    broken = made.W_dec.copy()
    broken[3, 3] = np.nan
    with pytest.raises(DictionaryError, match="W_dec holds values that are not finite"):
        code_paths(replace(made, W_dec=broken), vector, 2, method="omp")
