"""How well a number tells two groups apart: the area under the ROC curve, P(x⁺ > x⁻) + ½ P(x⁺ = x⁻)."""

from __future__ import annotations

import numpy as np


def auroc(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """The area for each column of two tables (n⁺, m) and (n⁻, m): (m,) float64, 0.5 where all are equal.

    By Mann and Whitney's ranks, ties at their mean rank.
    """
    together = np.concatenate([positive, negative])
    order = np.argsort(together, axis=0, kind="stable")
    values = np.take_along_axis(together, order, axis=0)
    n, m = together.shape
    places = np.broadcast_to(np.arange(n)[:, None], (n, m))
    new = np.ones((n, m), dtype=bool)
    new[1:] = values[1:] != values[:-1]
    first = np.maximum.accumulate(np.where(new, places, 0), axis=0)
    last_of_run = np.ones((n, m), dtype=bool)
    last_of_run[:-1] = new[1:]
    last = np.minimum.accumulate(np.where(last_of_run, places, n - 1)[::-1], axis=0)[::-1]
    ranks = np.empty((n, m))
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=0)
    n_positive, n_negative = len(positive), len(negative)
    excess = ranks[:n_positive].sum(axis=0) - n_positive * (n_positive + 1) / 2
    area: np.ndarray = excess / (n_positive * n_negative)
    return area
