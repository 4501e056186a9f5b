"""Intervals and tests against published goldens, against scipy, and against their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from surgery.verify.statistics import (
    Estimate,
    Pairs,
    bootstrap_mean,
    clopper_pearson,
    mcnemar,
    needed_n,
    newcombe,
    share,
    widened,
    wilson,
)

counts = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
cells = st.tuples(*[st.integers(0, 60)] * 4).filter(lambda each: sum(each) > 0).map(lambda each: Pairs(*each))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 32, 0.0, 0.107), (0, 100, 0.0, 0.037), (0, 520, 0.0, 0.007), (9, 100, 0.048, 0.162)],
)
def test_wilson_gives_the_golden_intervals(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


def test_none_of_twenty_may_be_a_sixth() -> None:
    assert wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)
    assert clopper_pearson(0, 20).high == pytest.approx(0.1684, abs=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        (5, 0, 0.0625),
        (6, 0, 0.03125),
        (9, 2, 0.0654),
        (30, 18, 0.1114),
        (300, 220, 5.19e-4),
        (91, 0, 8.08e-28),
    ],
)
def test_mcnemar_gives_the_golden_p_values(first: int, second: int, p_value: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p_value, rel=2e-3)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [(Pairs(36, 12, 2, 0), (0.200, 0.0569, 0.3404)), (Pairs(0, 91, 0, 9), (0.91, 0.829, 0.952))],
)
def test_newcombe_gives_the_golden_intervals(pairs: Pairs, expected: tuple[float, float, float]) -> None:
    found = newcombe(pairs)
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=5e-4)


@given(counts)
def test_shares_agree_with_scipy(count: tuple[int, int]) -> None:
    reference = stats.binomtest(*count)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        interval = reference.proportion_ci(method=method)
        found = ours(*count)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_agrees_with_scipy_and_does_not_care_for_order(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


@given(counts)
def test_a_share_lies_in_its_interval_and_mirrors(count: tuple[int, int]) -> None:
    successes, n = count
    for interval in (wilson, clopper_pearson, share):
        found, opposite = interval(successes, n), interval(n - successes, n)
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
        assert (found.low, found.high) == pytest.approx((1 - opposite.high, 1 - opposite.low), abs=1e-9)
        wider = interval(successes * 4, n * 4)
        assert wider.high - wider.low < found.high - found.low


@given(cells)
def test_newcombe_lies_around_the_difference_and_mirrors(pairs: Pairs) -> None:
    found = newcombe(pairs)
    swapped = newcombe(Pairs(pairs.both, pairs.second_only, pairs.first_only, pairs.neither))
    assert -1.0 <= found.low <= found.value <= found.high <= 1.0
    assert (found.low, found.high) == pytest.approx((-swapped.high, -swapped.low), abs=1e-12)


@given(cells)
def test_newcombe_agrees_with_the_paper_step_by_step(pairs: Pairs) -> None:
    """Written again from Newcombe 1998: Wilson's limits as the roots of (p̂ − p)² = z² p (1 − p) / n."""
    e, f, g, h = pairs.both, pairs.first_only, pairs.second_only, pairs.neither
    n, z2 = e + f + g + h, stats.norm.ppf(0.975) ** 2

    def limits(share: float) -> tuple[float, float]:
        low, high = sorted(np.roots([1 + z2 / n, -2 * share - z2 / n, share**2]).real)
        return float(low), float(high)

    first, second = (e + f) / n, (e + g) / n
    (l1, u1), (l2, u2) = limits(first), limits(second)
    totals = (e + f) * (g + h) * (e + g) * (f + h)
    product = e * h - f * g
    corrected = product - n / 2 if product > n / 2 else min(product, 0)
    phi = corrected / totals**0.5 if totals else 0.0
    below = ((first - l1) ** 2 - 2 * phi * (first - l1) * (u2 - second) + (u2 - second) ** 2) ** 0.5
    above = ((u1 - first) ** 2 - 2 * phi * (u1 - first) * (second - l2) + (second - l2) ** 2) ** 0.5
    found = newcombe(pairs)
    assert found.low == pytest.approx(max(-1.0, first - second - below), abs=1e-6)
    assert found.high == pytest.approx(min(1.0, first - second + above), abs=1e-6)


def test_newcombe_covers_the_truth_nineteen_times_in_twenty() -> None:
    truth = [0.55, 0.25, 0.05, 0.15]
    draws = np.random.default_rng(0).multinomial(120, truth, size=2000)
    intervals = [newcombe(Pairs(*each)) for each in draws.tolist()]
    covered = np.mean([found.low <= 0.25 - 0.05 <= found.high for found in intervals])
    assert 0.935 <= covered <= 0.975


def test_newcombe_narrows_with_more_items() -> None:
    widths = [newcombe(Pairs(30, 6, 2, 62).scaled(n)) for n in (100, 400, 1600)]
    assert [each.high - each.low for each in widths] == sorted(
        [each.high - each.low for each in widths], reverse=True
    )


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
@pytest.mark.parametrize("count", [(1, 0), (0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(interval: object, count: tuple[int, int]) -> None:
    assert callable(interval)
    with pytest.raises(ValueError, match="successes"):
        interval(*count)


def test_bootstrap_covers_the_mean_like_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    found = bootstrap_mean(values, generator=np.random.default_rng(1))
    half = 1.96 * values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)


def test_bootstrap_is_a_function_of_its_generator() -> None:
    values = np.arange(30.0)
    first, again, other = (
        bootstrap_mean(values, generator=np.random.default_rng(seed)) for seed in (4, 4, 5)
    )
    assert first == again
    assert first != other


def test_bootstrap_in_chunks_equals_bootstrap_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(40.0) ** 2
    at_once = bootstrap_mean(values, generator=np.random.default_rng(2), draws=50)
    monkeypatch.setattr("surgery.verify.statistics._CHUNK", 40 * 7)
    assert bootstrap_mean(values, generator=np.random.default_rng(2), draws=50) == at_once


def test_weights_count_an_item_as_often_as_they_say() -> None:
    found = bootstrap_mean(
        np.array([1.0, 4.0]), generator=np.random.default_rng(0), weights=np.array([3.0, 1.0])
    )
    assert found.value == 1.75
    assert (found.low, found.high) == (1.0, 4.0)


def test_values_that_are_not_finite_are_not_hidden() -> None:
    found = bootstrap_mean(np.array([0.0, np.inf]), generator=np.random.default_rng(0))
    assert found == Estimate(np.inf, np.inf, np.inf)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean(np.array([]), generator=np.random.default_rng(0))


@given(st.integers(1, 500), st.integers(1, 100_000))
def test_needed_n_is_the_smallest(n: int, more: int) -> None:
    assert needed_n(n, lambda size: size >= n + more) == n + more


def test_needed_n_gives_up_where_no_number_helps() -> None:
    assert needed_n(10, lambda size: False) is None


def test_a_widened_estimate_keeps_its_value() -> None:
    assert widened(Estimate(1.0, 0.5, 3.0), 0.5) == Estimate(1.0, 0.75, 2.0)


def test_one_item_says_nothing_of_others() -> None:
    found = bootstrap_mean(np.array([0.4]), generator=np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (0.4, -math.inf, math.inf)
