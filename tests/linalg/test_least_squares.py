"""Non-negative least squares against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.least_squares import nonnegative_least_squares


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 10), st.floats(0.0, 0.95))
def test_equals_scipy(seed: int, k: int, coherence: float) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((k, 12)) * (1 - coherence) + coherence * rng.standard_normal(12)
    target = rng.standard_normal(12)
    expected, _ = optimize.nnls(atoms.T, target)
    np.testing.assert_allclose(nonnegative_least_squares(atoms, target), expected, atol=1e-9)


def test_a_target_on_the_other_side_gets_nothing() -> None:
    assert nonnegative_least_squares(np.eye(3), -np.ones(3)).tolist() == [0.0, 0.0, 0.0]
