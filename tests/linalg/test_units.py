"""Lengths and bases of a few vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.linalg.units import ordered_basis, unit_rows


def test_a_row_of_zeros_stays_zero() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0]])
    assert np.array_equal(unit_rows(rows), [[0.6, 0.8], [0.0, 0.0]])


@given(st.integers(0, 1000), st.integers(1, 4))
def test_each_row_of_the_basis_is_what_its_row_adds(seed: int, k: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((k, 9))
    basis, added = ordered_basis(rows)
    assert np.allclose(basis @ basis.T, np.eye(k))
    assert basis[0] @ rows[0] == pytest.approx(np.linalg.norm(rows[0]))
    for number in range(k):
        rest = rows[number] - basis[:number].T @ (basis[:number] @ rows[number])
        assert basis[number] @ rest == pytest.approx(added[number]) == pytest.approx(np.linalg.norm(rest))


def test_a_dependent_row_adds_nothing() -> None:
    assert ordered_basis(np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))[1][1] == pytest.approx(0.0)
