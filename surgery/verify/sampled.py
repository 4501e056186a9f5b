"""An estimate that knows the sample it came from, so that it can say what more items would bring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from surgery.verify.statistics import Estimate, Pairs, newcombe, share, widened


@dataclass(frozen=True)
class Sampled:
    """An estimate from `n` items; `at(m)` is what it would be on m items with the same rates."""

    estimate: Estimate
    n: int
    at: Callable[[int], Estimate]


def sampled_share(successes: int, n: int) -> Sampled:
    """A share of n items."""
    return Sampled(share(successes, n), n, lambda m: share(_carried(successes, n, m), m))


def sampled_difference(pairs: Pairs) -> Sampled:
    """The first share minus the second, of paired answers."""
    return Sampled(newcombe(pairs), int(pairs.n), lambda m: newcombe(pairs.scaled(m)))


def sampled_mean(estimate: Estimate, n: int) -> Sampled:
    """A mean over n items: its interval shrinks with 1/√n."""
    return Sampled(estimate, n, lambda m: widened(estimate, (n / m) ** 0.5))


def _carried(successes: int, n: int, m: int) -> float:
    return m if successes == n else successes * m / n
