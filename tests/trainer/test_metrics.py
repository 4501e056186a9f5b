"""Streamed numbers against their formulas over everything at once."""

import numpy as np
import pytest

from trainer.metrics import Tally


def _data(offset: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((300, 4)) * [1, 2, 3, 4] + offset).astype(np.float32)
    rebuilt = (0.8 * x + 0.3 * rng.standard_normal(x.shape)).astype(np.float32)
    codes = rng.standard_normal((300, 9)) * (rng.random((300, 9)) < 0.3) * (np.arange(9) < 7)
    return x, rebuilt, codes


@pytest.mark.parametrize("cuts", [[], [7], [1, 2, 250]])
@pytest.mark.parametrize("offset", [0.0, 500.0])
def test_equals_the_formulas(cuts: list[int], offset: float) -> None:
    x, rebuilt, codes = _data(offset)
    tally = Tally(9, 4)
    for parts in zip(*(np.split(array, cuts) for array in (x, rebuilt, codes)), strict=True):
        tally.add(*parts)
    result = tally.result()
    exact, made = x.astype(np.float64), rebuilt.astype(np.float64)
    fvu = ((exact - made) ** 2).sum() / ((exact - exact.mean(0)) ** 2).sum()
    correlations = [np.corrcoef(exact[:, d], made[:, d])[0, 1] ** 2 for d in range(4)]
    assert result.fvu == pytest.approx(fvu, rel=1e-9)
    assert result.mean_squared_correlation == pytest.approx(np.mean(correlations), rel=1e-9)
    assert result.l0 == pytest.approx((codes != 0).sum(1).mean())
    assert result.dead_share == pytest.approx(2 / 9)
    assert result.tokens == 300
    np.testing.assert_array_equal(tally.fired, (codes != 0).sum(0))


def test_squared_correlation_does_not_see_scale_but_fvu_does() -> None:
    x, _, codes = _data(0.0)
    tally = Tally(9, 4)
    tally.add(x, 3 * x, codes)
    assert tally.result().mean_squared_correlation == pytest.approx(1)
    assert tally.result().fvu > 3


def test_constant_dimension_counts_as_uncorrelated() -> None:
    tally = Tally(1, 2)
    tally.add(np.array([[1.0, 0], [1, 1], [1, 2]]), np.array([[1.0, 0], [1, 1], [1, 2]]), np.ones((3, 1)))
    assert tally.result().mean_squared_correlation == pytest.approx(0.5)


def test_nothing_counted_is_an_error() -> None:
    tally = Tally(1, 2)
    tally.add(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 1)))
    with pytest.raises(ValueError, match="no token"):
        tally.result()
