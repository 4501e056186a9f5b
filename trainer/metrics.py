"""How good a dictionary is, summed over batches in float64.

    FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖²            x̄ the mean over ALL tokens, not over a batch
    L0  = mean number of non-zero codes per token
    dead share = share of features that fired on no token counted
    mean squared correlation = mean over dimensions of corr(x_d, x̂_d)²

The last is what the seed reported as 'variance explained'. It does not see errors of scale or offset, so it
flatters the reconstruction; it is here to compare with the seed's numbers and nothing else.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DictionaryMetrics:
    """Final numbers of one dictionary on one set of tokens."""

    tokens: int
    fvu: float
    l0: float
    dead_share: float
    mean_squared_correlation: float


class Tally:
    """Running sums; `add` batches, then take `result`."""

    def __init__(self, n_features: int, d_model: int) -> None:
        self._tokens = 0
        self._squared_error = 0.0
        self._active = 0
        self.fired = np.zeros(n_features, np.int64)  # tokens on which each feature was active
        self._sums = np.zeros((5, d_model))  # Σx, Σx̂, Σx², Σx̂², Σxx̂
        self._shift: np.ndarray | None = None

    def add(self, x: np.ndarray, reconstruction: np.ndarray, codes: np.ndarray) -> None:
        """Count tokens x (n, d), their reconstructions (n, d) and dense codes (n, n_features)."""
        exact, rebuilt = x.astype(np.float64), reconstruction.astype(np.float64)
        if len(exact) == 0:
            return
        self._squared_error += float(np.square(exact - rebuilt).sum())
        if self._shift is None:
            # sums of squares about a point near the mean keep the digits that sums about zero lose
            self._shift = exact.mean(0)
        exact, rebuilt = exact - self._shift, rebuilt - self._shift
        moments = (exact, rebuilt, exact * exact, rebuilt * rebuilt, exact * rebuilt)
        self._sums += np.stack([moment.sum(0) for moment in moments])
        active = codes != 0
        self._active += int(active.sum())
        self.fired += active.sum(0)
        self._tokens += len(exact)

    def result(self) -> DictionaryMetrics:
        """The numbers so far. Raises: ValueError when nothing was added."""
        if self._tokens == 0:
            raise ValueError("no token was counted")
        mean, mean_rebuilt, square, square_rebuilt, product = self._sums / self._tokens
        variance, variance_rebuilt = square - mean**2, square_rebuilt - mean_rebuilt**2
        spread = variance * variance_rebuilt
        covariance = product - mean * mean_rebuilt
        correlation = np.divide(covariance**2, spread, out=np.zeros_like(spread), where=spread > 0)
        total = float(variance.sum()) * self._tokens
        return DictionaryMetrics(
            tokens=self._tokens,
            fvu=self._squared_error / total if total > 0 else float("nan"),
            l0=self._active / self._tokens,
            dead_share=float((self.fired == 0).mean()),
            mean_squared_correlation=float(correlation.mean()),
        )
