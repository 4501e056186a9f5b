"""The numbers of one changed tensor, from one pass over both files.

    relative  ‖Δ‖ / ‖A‖          cosine  ⟨A, B⟩ / ‖A‖‖B‖          floor  Σ step(a)² / 12

The floor is the energy that rounding to the stored type alone would leave in Δ (uniform error in a step), so
‖Δ‖² − floor is what somebody meant. Beside them a sketch of A and of Δ with the same random columns
(`surgery.linalg.sketch`), the residual axis first, and of a writer some of its columns as they are: a sketch
shows directions, but a component along one of them only through the rounding of all columns at once. Sums of
tiles are float64, tiles float32.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.numbers import Array as Wide
from surgery.checkpoint.pair import PairTile, by_matrix, lines_of, walk_pair
from surgery.compare.pairing import Pair
from surgery.compare.precision import STEPS, binades, coarsest_grid
from surgery.linalg.sketch import noise_edge

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

COLUMNS = 8
"""Random columns of a sketch in the first pass."""
SAMPLED_COLUMNS = 64
"""Columns of a writer that are kept as they are."""
_SAMPLED = 16


@dataclass(frozen=True)
class View:
    """How a tensor is seen as a matrix (d, n) whose rows run along `axis`.

    `by_rows`: that axis is the last one, so each line of the file is a column of the matrix.
    """

    axis: int
    d: int
    n: int
    by_rows: bool


@dataclass(frozen=True)
class Numbers:
    """What one pass says about a changed tensor. Energies are squared Frobenius norms."""

    size: int
    changed: int
    before: float  # ‖A‖²
    inner: float  # ⟨A, Δ⟩
    energy: float  # ‖Δ‖²
    largest: float  # max |Δ|
    floor: float
    grid: str  # the type whose steps the values of B stand on
    finite: bool

    @property
    def after(self) -> float:
        """‖B‖²."""
        return self.before + 2 * self.inner + self.energy

    @property
    def relative(self) -> float:
        """‖Δ‖ / ‖A‖."""
        return math.sqrt(self.energy / self.before) if self.before else math.inf

    @property
    def cosine(self) -> float:
        """⟨A, B⟩ / ‖A‖‖B‖."""
        scale = math.sqrt(max(self.before, 0.0) * max(self.after, 0.0))
        return min(1.0, (self.before + self.inner) / scale) if scale else 0.0

    @property
    def above_floor(self) -> float:
        """‖Δ‖² beyond rounding."""
        return max(self.energy - self.floor, 0.0)

    @property
    def growth(self) -> float:
        """(‖B‖² − ‖A‖²) / ‖Δ‖²: 0 where norms are preserved, 1 − 2/λ after an orthogonal ablation."""
        return (2 * self.inner + self.energy - self.floor) / self.energy if self.energy else 0.0


@dataclass(frozen=True)
class Measured:
    """One changed tensor: its numbers, how it is seen, and its sketches (d, columns)."""

    pair: Pair
    view: View
    numbers: Numbers
    before: Array
    change: Array
    sample: Floats  # columns of A and of Δ, (2, d, up to SAMPLED_COLUMNS); none of what does not write
    row_norms: Array  # of A, along the residual axis, (d,)
    edge: float  # what rounding alone may do to a singular value of `change`


def view_of(shape: tuple[int, ...], axis: int | None) -> View:
    """The matrix view of a tensor; without a residual axis the last-but-one axis is taken."""
    axis = max(len(shape) - 2, 0) if axis is None else axis
    d = shape[axis] if shape else 1
    return View(axis, d, max(1, math.prod(shape) // max(d, 1)), len(shape) > 1 and axis == len(shape) - 1)


def measure(pair: Pair, axis: int | None, *, columns: int = COLUMNS) -> Measured:
    """Measure one pair of tensors of the same shape.

    Args:
        pair: the tensors.
        axis: the residual axis, None where there is none.
        columns: width of the sketches.

    Raises:
        CheckpointError: a file ends too early.
    """
    view = view_of(pair.before.entry.shape, axis)
    state = _State(pair, view, columns, sampled=0 if axis is None else SAMPLED_COLUMNS)
    with np.errstate(all="ignore"):  # damaged weights are told by `finite`
        for tile in walk_pair(pair.before, pair.after):
            state.add(tile)
    return state.finish()


class _State:
    """Sums over the tiles seen so far."""

    def __init__(self, pair: Pair, view: View, columns: int, *, sampled: int) -> None:
        self.pair, self.view, self.columns = pair, view, columns
        self.lines, self.length = lines_of(pair.before.entry.shape)
        self.is_vector = len(pair.before.entry.shape) < 2
        self.changed, self.tiles = 0, 0
        self.before = self.inner = self.energy = 0.0
        self.binades = self.sampled = 0.0
        self.largest, self.finite = 0.0, True
        self.norms = np.zeros(view.d)
        self.sketch = np.zeros((2, columns, view.d))
        self.kept = np.unique(np.linspace(0, view.n - 1, sampled).astype(np.int64))
        self.sample = np.zeros((2, view.d, len(self.kept)), np.float32)
        self.grid = pair.after.entry.dtype
        self._random = np.random.default_rng(zlib.crc32(pair.name.encode()))
        self._matrix, self._omega = -1, np.empty((columns, 0), np.float32)
        self._place, self._taken = slice(0), self.kept
        self._partial: Wide | None = None

    def add(self, tile: PairTile) -> None:
        before, change = tile.before, tile.after
        if self.tiles == 0:
            self.grid = coarsest_grid(change, self.pair.after.entry.dtype)
        np.subtract(change, before, out=change)
        low, high = (float(each.reduce(change, axis=None)) for each in (np.minimum, np.maximum))
        self.finite = self.finite and math.isfinite(high - low)
        self.largest = max(self.largest, -low, high)
        self.changed += tile.changed
        self.inner += float(np.vdot(before, change))
        self.energy += float(np.vdot(change, change))
        self._add_lines(tile)
        self.tiles += 1

    def _add_lines(self, tile: PairTile) -> None:
        lines = np.vecdot(tile.before, tile.before).astype(np.float64)
        energy = float(lines.sum())
        self.before += energy
        chosen = self.tiles % _SAMPLED == 0
        if chosen:
            self.sampled += energy
            self.binades += binades(tile.before)
        if self.view.by_rows or self.is_vector:
            if chosen:
                self.norms += np.einsum("ij,ij->j", tile.before, tile.before)
            self._add_columns(tile)
            return
        for matrix, row, ours in by_matrix(tile.first, len(lines), self.view.d):
            if matrix != self._matrix:
                self._start(matrix, tile.both.dtype)
            here = slice(row, row + ours.stop - ours.start)
            both = tile.both[:, ours]
            self.norms[here] += lines[ours]
            self.sketch[:, :, here] += (both @ self._omega.T).transpose(0, 2, 1)
            if self._taken.size:
                self.sample[:, here, self._place] = both.take(self._taken, axis=2)

    def _start(self, matrix: int, dtype: np.dtype[Any]) -> None:
        """Draw the Ω of one of stacked matrices, and look up which of its columns are kept."""
        first = matrix * self.length
        self._matrix, self._omega = matrix, self._draw(self.length, dtype)
        self._place = slice(*np.searchsorted(self.kept, (first, first + self.length)))
        self._taken = self.kept[self._place] - first

    def _add_columns(self, tile: PairTile) -> None:
        """Lines that are columns of the matrix; a vector is one."""
        both, count = tile.both, tile.both.shape[1]
        if self.is_vector:
            self.sketch[:, 0] = both[:, 0]
        else:
            self._add_partial(self._draw(count, both.dtype) @ both)
        here = slice(*np.searchsorted(self.kept, (tile.first, tile.first + count)))
        self.sample[:, :, here] = both[:, self.kept[here] - tile.first].transpose(0, 2, 1)

    def _add_partial(self, product: Wide) -> None:
        """Sum up (2, columns, d) of some tiles as they are computed, and only then in float64."""
        if self._partial is None:
            self._partial = product
        else:
            self._partial += product
        if self.tiles % _SAMPLED == _SAMPLED - 1:
            self._flush()

    def _flush(self) -> None:
        if self._partial is not None:
            self.sketch += self._partial
            self._partial = None

    def _draw(self, rows: int, dtype: np.dtype[Any]) -> Wide:
        return self._random.standard_normal((self.columns, rows), dtype=dtype)

    def finish(self) -> Measured:
        self._flush()
        view, size = self.view, self.lines * self.length
        scale = self.before / self.sampled if self.sampled else 0.0
        floor = STEPS.get(self.grid, 0.0) ** 2 / 12 * self.binades * scale
        numbers = Numbers(
            size=size,
            changed=self.changed,
            before=self.before,
            inner=self.inner,
            energy=self.energy,
            largest=self.largest,
            floor=floor,
            grid=self.grid,
            finite=self.finite,
        )
        norms = self.norms * scale if view.by_rows or self.is_vector else self.norms
        share = norms / self.before if self.before else np.full(view.d, 1 / view.d)
        edge = noise_edge(floor * share, view.n, self.columns)
        before, change = self.sketch.transpose(0, 2, 1)
        return Measured(self.pair, view, numbers, before, change, self.sample, np.sqrt(norms), edge)
