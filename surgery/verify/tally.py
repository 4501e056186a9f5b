"""Running sums over activations: how much of their variance a dictionary explains, with how many features.

FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖²        L0 = mean number of active features        dead = share that never fires
"""

from __future__ import annotations

import numpy as np


class Tally:
    """Running sums in float64; `add` batches, then read."""

    def __init__(self, n_features: int, d: int) -> None:
        self.tokens = 0
        self._error = self._active = self._square = 0.0
        self._sum = np.zeros(d)
        self._shift: np.ndarray | None = None
        self._fired = np.zeros(n_features, dtype=bool)

    def add(self, x: np.ndarray, output: np.ndarray, codes: np.ndarray) -> None:
        """Count activations (n, d), the outputs for them (n, d), and their codes (n, n_features)."""
        exact = x.astype(np.float64)
        if self._shift is None:
            # Squares about a point near the mean keep the digits that squares about zero lose.
            self._shift = exact.mean(axis=0)
        self.tokens += len(x)
        self._error += float(np.square(exact - output).sum())
        centred = exact - self._shift
        self._sum += centred.sum(axis=0)
        self._square += float(np.square(centred).sum())
        self._active += float(np.count_nonzero(codes))
        self._fired |= codes.any(axis=0)

    def fvu(self) -> float:
        spread = self._square - float(self._sum @ self._sum) / self.tokens
        return self._error / spread if spread > 0 else float("nan")

    def l0(self) -> float:
        return self._active / self.tokens

    def dead(self) -> float:
        return float(1.0 - self._fired.mean())
