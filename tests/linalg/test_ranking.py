"""The area under the ROC curve against its definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.ranking import auroc


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_counts_the_pairs_in_order(seed: int, n_positive: int, n_negative: int) -> None:
    rng = np.random.default_rng(seed)
    positive, negative = rng.integers(0, 4, (n_positive, 5)), rng.integers(0, 4, (n_negative, 5))
    pairs = positive[:, None] - negative[None]
    expected = (pairs > 0).mean(axis=(0, 1)) + 0.5 * (pairs == 0).mean(axis=(0, 1))
    np.testing.assert_allclose(auroc(positive, negative), expected, atol=1e-12)


def test_what_never_fires_tells_nothing() -> None:
    assert auroc(np.zeros((3, 2)), np.zeros((4, 2))).tolist() == [0.5, 0.5]
