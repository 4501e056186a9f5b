"""Intervals and tests for shares and means that were measured before and after on the same items.

A share k/n gets Wilson's score interval (Wilson 1927),

    (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n),

or, where k is 0 or n, the exact one of Clopper and Pearson (1934). The difference of two paired shares gets
method 10 of Newcombe (Statistics in Medicine 17, 1998, 2635–2650), which combines the two Wilson intervals
through the correlation of the pairs; its test is McNemar's (1947) in the exact, binomial form. Means get a
percentile bootstrap over items. An interval is two-sided at 95 % everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

Z95 = NormalDist().inv_cdf(0.975)
_TAIL = 0.025
_LARGEST_N = 10_000_000
_CHUNK = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its 95 % interval, all in the same unit."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pairs:
    """How often two yes-no answers to the same items coincide; counts may be fractions when n is imagined."""

    both: float
    first_only: float
    second_only: float
    neither: float

    @property
    def n(self) -> float:
        return self.both + self.first_only + self.second_only + self.neither

    def scaled(self, n: int) -> Pairs:
        """The same rates at another number of items."""
        factor = n / self.n
        return Pairs(
            *(count * factor for count in (self.both, self.first_only, self.second_only, self.neither))
        )


def wilson(successes: float, n: float) -> Estimate:
    """Wilson's interval of a share. Raises ValueError unless 0 ≤ successes ≤ n and n > 0."""
    _check_counts(successes, n)
    p, z2 = successes / n, Z95 * Z95
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At the ends the formula gives p exactly; rounding must not put the point outside its own interval.
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)))


def clopper_pearson(successes: int, n: int) -> Estimate:
    """The exact (conservative) interval of a share. Raises ValueError unless 0 ≤ successes ≤ n and n > 0."""
    _check_counts(successes, n)
    if successes == 0:
        return Estimate(0.0, 0.0, -math.expm1(math.log(_TAIL) / n))
    if successes == n:
        return Estimate(1.0, math.exp(math.log(_TAIL) / n), 1.0)
    return Estimate(successes / n, _tail_share(successes, n), 1.0 - _tail_share(n - successes, n))


def share(successes: float, n: int) -> Estimate:
    """The interval this library reports: Wilson's, or Clopper and Pearson's where all or none succeeded.

    `successes` may be a fraction when rates are carried over to an imagined number of items.
    """
    if successes in (0, n) and n > 0:
        return clopper_pearson(int(successes), n)
    return wilson(successes, n)


def mcnemar(first_only: int, second_only: int) -> float:
    """Two-sided p-value of the exact McNemar test, from the two discordant counts (order does not matter)."""
    n, small = first_only + second_only, min(first_only, second_only)
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(small + 1))
    return min(1.0, float(2 * tail / 2**n))


def newcombe(pairs: Pairs) -> Estimate:
    """First share minus second share of paired answers, with the interval of Newcombe 1998, method 10."""
    n = pairs.n
    first = wilson(pairs.both + pairs.first_only, n)
    second = wilson(pairs.both + pairs.second_only, n)
    phi = _phi(pairs)
    below = _combine(first.value - first.low, second.high - second.value, phi)
    above = _combine(first.high - first.value, second.value - second.low, phi)
    difference = (pairs.first_only - pairs.second_only) / n
    return Estimate(difference, max(-1.0, difference - below), min(1.0, difference + above))


def bootstrap_mean(
    values: np.ndarray,
    *,
    generator: np.random.Generator,
    weights: np.ndarray | None = None,
    draws: int = 2000,
) -> Estimate:
    """Mean over items with the 2.5 and 97.5 percentiles of `draws` resamplings of the items.

    For a paired comparison pass the items' differences: resampling items resamples pairs. Of one item there
    is no interval: its ends are infinite.

    Args:
        values: (n,) one number an item.
        weights: (n,) what each item counts for (tokens, say); then the mean is Σwv/Σw in every draw.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n == 0:
        raise ValueError("no values to take the mean of")
    weights = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = float((values * weights).sum() / weights.sum())
    if not np.isfinite(values).all():
        return Estimate(mean, mean, mean)
    if n == 1:  # every resampling is the item itself, which says nothing of others
        return Estimate(mean, -math.inf, math.inf)
    means = [
        (values[rows] * weights[rows]).sum(axis=1) / weights[rows].sum(axis=1)
        for rows in _resamplings(n, draws=draws, generator=generator)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Estimate(mean, min(mean, float(low)), max(mean, float(high)))


def needed_n(n: int, holds: Callable[[int], bool]) -> int | None:
    """The smallest number of items, above `n`, at which `holds`; None if ten million do not do.

    `holds` must stay true once it is true, as it does for "the interval's end is inside the limit" at fixed
    rates.
    """
    low, high = n, max(2 * n, 2)
    while not holds(high):
        low, high = high, high * 2
        if low > _LARGEST_N:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def widened(estimate: Estimate, factor: float) -> Estimate:
    """The estimate with its interval's halves times `factor`: how a mean's interval goes with 1/√n."""
    value = estimate.value
    return Estimate(value, value - factor * (value - estimate.low), value + factor * (estimate.high - value))


def _resamplings(n: int, *, draws: int, generator: np.random.Generator) -> list[np.ndarray]:
    step = max(1, _CHUNK // n)
    return [generator.integers(0, n, size=(min(step, draws - start), n)) for start in range(0, draws, step)]


def _check_counts(successes: float, n: float) -> None:
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"{successes} successes of {n} items: needs 0 ≤ successes ≤ n and n > 0")


def _phi(pairs: Pairs) -> float:
    """Correlation of the pairs, with Newcombe's continuity correction where it is positive."""
    rows = (pairs.both + pairs.first_only) * (pairs.second_only + pairs.neither)
    columns = (pairs.both + pairs.second_only) * (pairs.first_only + pairs.neither)
    if rows * columns == 0:
        return 0.0
    excess = pairs.both * pairs.neither - pairs.first_only * pairs.second_only
    if excess > 0:
        excess = max(0.0, excess - pairs.n / 2)
    return excess / math.sqrt(rows * columns)


def _combine(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))


def _tail_share(k: int, n: int) -> float:
    """The share at which k or more successes of n have probability 0.025, by bisection."""
    counts = np.arange(k, n + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    log_ways = log_factorial[n] - log_factorial[counts] - log_factorial[n - counts]
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        tail = np.exp(log_ways + counts * math.log(middle) + (n - counts) * math.log1p(-middle)).sum()
        low, high = (middle, high) if tail < _TAIL else (low, middle)
    return high
