"""The numbers of one changed tensor, from one pass over both files.

    relative  ‖Δ‖ / ‖A‖          cosine  ⟨A, B⟩ / ‖A‖‖B‖          floor  Σ step(a)² / 12

The floor is the energy that rounding to the stored type alone would leave in Δ (uniform error in a step), so
‖Δ‖² − floor is what somebody meant. Beside them a sketch of A and of Δ with the same random columns
(`surgery.linalg.sketch`), the residual axis first. Sums of tiles are float64, tiles float32.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from surgery.checkpoint.dtypes import EDITABLE, TORCH_NAMES
from surgery.checkpoint.pair import PairTile, lines_of, walk_pair
from surgery.compare.pairing import Pair
from surgery.linalg.sketch import noise_edge

Array = npt.NDArray[np.float64]

COLUMNS = 8
"""Random columns of a sketch in the first pass."""
_EPSILON = {
    "BF16": 2.0**-7,
    "F16": 2.0**-10,
    "F32": 2.0**-23,
    "F64": 2.0**-52,
    "F8_E4M3": 2.0**-3,
    "F8_E5M2": 2.0**-2,
}
_SAMPLED = 16
_EXPONENT = {torch.float32: 0x7F800000, torch.float64: 0x7FF0000000000000}


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
    row_norms: Array  # of A, along the residual axis, (d,)
    edge: float  # what rounding alone may do to a singular value of `change`


def view_of(shape: tuple[int, ...], axis: int | None) -> View:
    """The matrix view of a tensor; without a residual axis the last-but-one axis is taken."""
    axis = max(len(shape) - 2, 0) if axis is None else axis
    d = shape[axis] if shape else 1
    return View(axis, d, max(1, math.prod(shape) // max(d, 1)), len(shape) > 1 and axis == len(shape) - 1)


def can_measure(pair: Pair) -> bool:
    """Whether both sides hold numbers that torch can read."""
    kinds = {pair.before.entry.dtype, pair.after.entry.dtype}
    return all(kind in TORCH_NAMES and kind not in ("BOOL", "C64") for kind in kinds)


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
    state = _State(pair, view, columns)
    with torch.no_grad():
        for tile in walk_pair(pair.before, pair.after):
            state.add(tile)
    return state.finish()


class _State:
    """Sums over the tiles seen so far."""

    def __init__(self, pair: Pair, view: View, columns: int) -> None:
        self.pair, self.view, self.columns = pair, view, columns
        self.lines, self.length = lines_of(pair.before.entry.shape)
        self.changed, self.tiles = 0, 0
        self.before = self.inner = self.energy = 0.0
        self.binades = self.sampled = 0.0
        self.largest, self.finite = 0.0, True
        self.norms = np.zeros(view.d)
        self.sketch = torch.zeros(2, columns, view.d, dtype=torch.float64)
        self.grid = pair.after.entry.dtype
        self._omega: tuple[int, torch.Tensor] | None = None

    def add(self, tile: PairTile) -> None:
        before, after = tile.before, tile.after
        if self.tiles == 0:
            self.grid = coarsest_grid(after, self.pair.after.entry.dtype)
        change = after.sub_(before).reshape(-1)
        low, high = float(change.amin()), float(change.amax())
        self.finite = self.finite and math.isfinite(high - low)
        self.largest = max(self.largest, -low, high)
        self.changed += tile.changed
        self.inner += float(before.reshape(-1) @ change)
        self.energy += float(change @ change)
        self._add_norms(tile.first, before)
        self._add_sketch(tile)
        self.tiles += 1

    def _add_norms(self, first: int, before: torch.Tensor) -> None:
        lines = torch.linalg.vector_norm(before, dim=1).double().square_().numpy()
        energy = float(lines.sum())
        self.before += energy
        chosen = self.tiles % _SAMPLED == 0
        if chosen:
            self.sampled += energy
            self.binades += _binades(before.reshape(-1))
        if not self.view.by_rows and self.lines > 1:
            np.add.at(self.norms, (first + np.arange(len(lines))) % self.view.d, lines)
        elif chosen:
            self.norms += before.square().sum(0).double().numpy()

    def _add_sketch(self, tile: PairTile) -> None:
        both, count = tile.both, tile.both.shape[1]
        if self.lines == 1:
            self.sketch[:, 0] = both[:, 0].double()
        elif self.view.by_rows:
            omega = self._draw(tile.first, count, both.dtype)
            for side in range(2):
                self.sketch[side] += omega @ both[side]
        else:
            self._add_lines(tile)

    def _add_lines(self, tile: PairTile) -> None:
        """Lines are coordinates of the residual axis, matrix after matrix; each matrix draws its own Ω."""
        count, d, done = tile.both.shape[1], self.view.d, 0
        while done < count:
            matrix, row = divmod(tile.first + done, d)
            part = min(count - done, d - row)
            if self._omega is None or self._omega[0] != matrix:
                self._omega = (matrix, self._draw(matrix, self.length, tile.both.dtype))
            lines = tile.both[:, done : done + part].reshape(2 * part, self.length)
            product = (self._omega[1] @ lines.T).reshape(self.columns, 2, part)
            self.sketch[:, :, row : row + part] += product.transpose(0, 1)
            done += part

    def _draw(self, number: int, rows: int, dtype: torch.dtype) -> torch.Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.pair.name} {number}".encode()))
        return torch.randn(self.columns, rows, generator=generator, dtype=dtype)

    def finish(self) -> Measured:
        view, size = self.view, self.lines * self.length
        scale = self.before / self.sampled if self.sampled else 0.0
        floor = _EPSILON.get(self.grid, 0.0) ** 2 / 12 * self.binades * scale
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
        norms = self.norms * scale if view.by_rows or self.lines == 1 else self.norms
        share = norms / self.before if self.before else np.full(view.d, 1 / view.d)
        edge = noise_edge(floor * share, view.n, self.columns)
        before, change = self.sketch.numpy().transpose(0, 2, 1)
        return Measured(self.pair, view, numbers, before, change, np.sqrt(norms), edge)


def coarsest_grid(values: torch.Tensor, dtype: str) -> str:
    """The type on whose steps float32 values stand: weights are often stored wider than they were made."""
    if dtype != "F32" or values.dtype != torch.float32:
        return dtype
    for narrow in ("BF16", "F16"):
        kind = getattr(torch, TORCH_NAMES[narrow])
        if bool((values.to(kind).to(torch.float32) == values).all()):
            return narrow
    return dtype


def _binades(flat: torch.Tensor) -> float:
    """Σ (2^⌊log2|a|⌋)²."""
    kind = torch.int64 if flat.dtype == torch.float64 else torch.int32
    floors = (flat.view(kind) & _EXPONENT[flat.dtype]).view(flat.dtype)
    return float(floors @ floors)


def cast_type(pair: Pair) -> str | None:
    """The type through which the second tensor is the first, rounded or widened and nothing else."""
    stored = pair.after.entry.dtype
    if stored not in EDITABLE or pair.before.entry.dtype not in EDITABLE:
        return None
    kinds = [stored] if pair.retyped else []
    kinds += [kind for kind in ("BF16", "F16") if stored in ("F32", "F64")]
    return next((kind for kind in kinds if _is_rounded(pair, getattr(torch, TORCH_NAMES[kind]))), None)


def _is_rounded(pair: Pair, kind: torch.dtype) -> bool:
    return all(
        bool((tile.before.to(kind).to(tile.both.dtype) == tile.after).all())
        for tile in walk_pair(pair.before, pair.after)
    )
