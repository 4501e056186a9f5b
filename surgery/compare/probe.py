"""A second look at one writer, once the direction q is known: its components, column by column.

    a = qᵀA, b = qᵀB, (n,)      λ = 1 − ⟨a, b⟩ / ‖a‖²      leak = ‖b‖ / ‖a‖

A glance takes the columns that were kept, a probe reads the whole writer again. Which norms an edit preserved
only a probe can say, from two regressions, each beside a term for a general rescaling:

    columns   |B_j|² − |A_j|²  on  a_j²  and  |A_j|²               slope −(2λ − λ²) orthogonal, 0 preserved
    rows      |B_i|² − |A_i|²  on  q_i² |A_i|²  and  |A_i|²        the same
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.pair import PairTile, by_matrix, lines_of, walk_pair
from surgery.compare.measure import Floats, View
from surgery.compare.pairing import Pair

Array = npt.NDArray[np.float64]
_DRIFT = 0.4


@dataclass(frozen=True)
class Probe:
    """What an edit did along one direction.

    `right` is the cosine of what was removed with what the writer wrote there; `norms` is None in a glance.
    """

    tensor: str
    strength: float
    leak: float
    right: float
    norms: Norms | None = None


@dataclass(frozen=True)
class Norms:
    """What became of the lengths of columns and rows.

    `columns` and `rows` are the slopes above in units of −(2λ − λ²): 1 for an orthogonal ablation, 0 where
    these norms were preserved. The drifts are Σ | |B_j|² − |A_j|² | / ‖Δ‖², at least 1 at λ = 1.
    """

    columns: float
    rows: float
    column_drift: float
    row_drift: float

    @property
    def keeps_columns(self) -> bool:
        """Whether every column has the length that it had, up to rounding."""
        return self.column_drift < _DRIFT

    @property
    def keeps_rows(self) -> bool:
        """Whether every row has the length that it had, up to rounding."""
        return self.row_drift < _DRIFT


def glance(tensor: str, sample: Floats, direction: Array) -> Probe:
    """What some columns of A and of Δ, (2, d, m), show along a unit direction (d,) of their coordinates."""
    a, change = (direction @ side for side in sample)
    return _along(tensor, a, a + change)


def probe(pair: Pair, view: View, direction: Array) -> Probe:
    """Read one writer again, along a unit direction (d,) of its own coordinates.

    Raises:
        CheckpointError: a file ends too early.
    """
    sums = _Sums(pair, view, direction)
    for tile in walk_pair(pair.before, pair.after):
        sums.add(tile)
    a, b = sums.along
    found = _along(pair.name, a, b)
    unit = -(2 * found.strength - found.strength**2)
    columns = _slope(sums.columns, a**2)
    rows = _slope(sums.rows, direction**2 * sums.rows[0])
    norms = Norms(
        columns=columns / unit if unit else 0.0,
        rows=rows / unit if unit else 0.0,
        column_drift=_drift(sums.columns, sums.energy),
        row_drift=_drift(sums.rows, sums.energy),
    )
    return replace(found, norms=norms)


def _along(tensor: str, a: Array, b: Array) -> Probe:
    energy, removed = float(a @ a), a - b
    scale = float(np.linalg.norm(a) * np.linalg.norm(removed))
    return Probe(
        tensor=tensor,
        strength=1 - float(a @ b) / energy if energy else 0.0,
        leak=float(np.linalg.norm(b)) / math.sqrt(energy) if energy else 0.0,
        right=float(a @ removed) / scale if scale else 0.0,
    )


class _Sums:
    """Squared norms of A and their change by column (2, n) and by row (2, d); a and b, (2, n)."""

    def __init__(self, pair: Pair, view: View, direction: Array) -> None:
        self.view, self.q = view, direction
        self.lines, self.length = lines_of(pair.before.entry.shape)
        self.rows = np.zeros((2, view.d))
        self.columns = np.zeros((2, view.n))
        self.along = np.zeros((2, view.n))
        self.energy = 0.0

    def add(self, tile: PairTile) -> None:
        both, q = tile.both, self.q.astype(tile.both.dtype)
        change = both[1] - both[0]
        self.energy += float(np.einsum("ij,ij->", change, change))
        # |B|² − |A|² as (B − A)(B + A): nothing is lost where the change is small.
        terms = ((both[0], both[0]), (change, both[0] + both[1]))
        by_line = np.stack([np.einsum("ij,ij->i", *each) for each in terms])
        if self.view.by_rows:
            here = slice(tile.first, tile.first + both.shape[1])
            self.columns[:, here] = by_line
            self.rows += np.stack([np.einsum("ij,ij->j", *each) for each in terms])
            self.along[:, here] = np.einsum("sij,j->si", both, q)
            return
        for matrix, row, ours in by_matrix(tile.first, both.shape[1], self.view.d):
            here = slice(matrix * self.length, (matrix + 1) * self.length)
            there = slice(row, row + ours.stop - ours.start)
            self.rows[:, there] += by_line[:, ours]
            self.columns[:, here] += np.stack([np.einsum("ij,ij->j", x[ours], y[ours]) for x, y in terms])
            self.along[:, here] += np.einsum("i,sij->sj", q[there], both[:, ours])


def _drift(norms: Array, expected: float) -> float:
    return float(np.abs(norms[1]).sum()) / expected if expected else 0.0


def _slope(norms: Array, expected: Array) -> float:
    """Coefficient of `expected` in the change of squared norms, beside a common factor."""
    terms = np.stack([expected, norms[0]], 1)
    solution, *_ = np.linalg.lstsq(terms, norms[1], rcond=None)
    return float(solution[0])
