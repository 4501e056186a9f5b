"""What the changed writers have in common: directions of the residual stream, recovered over all of them.

A writer's own direction q is carried back into the stream before it is compared: where a norm with gain g
stands between, q = g∘r, so r = q / g, made unit. Directions are pooled as the leading eigenvectors of
Σ w r rᵀ, each weighed by how far it stands above rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.layout import Checkpoint
from surgery.compare.measure import Measured
from surgery.compare.reading import Reading
from surgery.linalg.sketch import fit_relation, shared_subspace
from surgery.linalg.units import ordered_basis, unit_rows
from surgery.model.anatomy import Gain, Writer
from surgery.model.gains import in_stream, whole_gain

Array = npt.NDArray[np.float64]
_PRECISE = 1e6


@dataclass(frozen=True)
class Member:
    """What happened to one writer along the shared directions. `strengths` are λ, one per direction."""

    tensor: str
    strengths: tuple[float, ...]
    agreement: float
    fit: float


@dataclass(frozen=True)
class Changed:
    """One changed tensor with everything read from it.

    `writer` is None where it does not write; `member` is set once its sketches were given up for it.
    """

    measured: Measured
    reading: Reading
    writer: Writer | None
    gain: Array | None  # (d_model,)
    member: Member | None = None

    @property
    def name(self) -> str:
        return self.measured.pair.name

    @property
    def stream_directions(self) -> Array:
        """Unit rows (rank, d_model) in the stream's own coordinates."""
        return in_stream(self.reading.directions, self.gain)


@dataclass(frozen=True)
class SharedDirections:
    """Directions that several writers share.

    `vectors` are unit rows (k, d_model); `shares` each one's part of the pooled weight; `agreement` is the
    weighted mean of how much of each writer's own subspace lies in the shared one (1: all of it).
    """

    vectors: Array
    shares: tuple[float, ...]
    agreement: float
    members: tuple[Member, ...] = ()


def pool(changed: Sequence[Changed]) -> SharedDirections | None:
    """The directions that these tensors share, None where they have none."""
    rows, weights = [], []
    for each in changed:
        directions = each.stream_directions
        if len(directions):
            rows.append(directions)
            weights += [_weight(each)] * len(directions)
    if not rows:
        return None
    vectors, values = shared_subspace(np.concatenate(rows).T, np.asarray(weights))
    count = min(len(vectors), max(1, round(float(np.median([len(each) for each in rows])))))
    basis = _diagonal(vectors[:count], changed)
    agreement = float(np.sum(values[:count]) / np.sum(values)) if values.size else 0.0
    return SharedDirections(_oriented(basis), tuple(map(float, values)), agreement)


def with_members(shared: SharedDirections, changed: Sequence[Changed]) -> SharedDirections:
    """The same directions, and what happened to each of these writers along them."""
    members = (each.member or measure_member(each, shared.vectors) for each in changed)
    return replace(shared, members=tuple(members))


def measure_member(changed: Changed, vectors: Array) -> Member:
    """λ of one writer along given directions of the stream, (k, d_model), from columns of its own."""
    q = _carried_basis(vectors, changed.gain)
    before, change = changed.measured.sample
    fit = fit_relation(q @ change, q @ before)
    own = changed.reading.directions
    agreement = float(np.sqrt(np.mean(np.sum((own @ q.T) ** 2, axis=1)))) if len(own) else 0.0
    return Member(changed.name, tuple(map(float, np.diagonal(fit.matrix))), agreement, fit.rest)


def settled(changed: Changed, shared: SharedDirections) -> Changed:
    """A tensor measured against directions that are known already, without its sketches."""
    bare = without_sketches(changed.measured)
    reading = replace(changed.reading, directions=np.empty((0, changed.measured.view.d)))
    member = measure_member(changed, shared.vectors) if changed.writer is not None else None
    return replace(changed, measured=bare, reading=reading, member=member)


def without_sketches(measured: Measured) -> Measured:
    """What remains of a measured tensor where its sketches and columns are not needed any more."""
    empty = np.empty((0, 0))
    sample = np.empty((2, 0, 0), np.float32)
    return replace(measured, before=empty, change=empty, sample=sample, row_norms=np.empty(0))


def along(changed: Changed, vectors: Array) -> float:
    """Share of a tensor's change that lies along given directions of the stream, rounding left out."""
    q = _carried_basis(vectors, changed.gain)
    inside = float(np.sum((q @ changed.measured.change) ** 2))
    whole = float(np.sum(changed.measured.change**2))
    return inside / whole if whole else 0.0


def carried(vectors: Array, gain: Array | None) -> Array:
    """Directions of the stream in the coordinates of a tensor behind a norm, unit rows."""
    return vectors if gain is None else unit_rows(vectors * gain)


def read_gains(checkpoint: Checkpoint, writers: Sequence[Writer]) -> Mapping[Gain, Array]:
    """The factors (d_model,) of what stands behind each of these writers."""
    found: dict[Gain, Array] = {}
    for writer in writers:
        gain = writer.gain
        if gain is not None and gain not in found:
            found[gain] = whole_gain(gain, checkpoint)
    return found


def _carried_basis(vectors: Array, gain: Array | None) -> Array:
    """The carried directions made orthonormal in their order, rows (k, d)."""
    return ordered_basis(carried(vectors, gain))[0]


def _diagonal(basis: Array, changed: Sequence[Changed]) -> Array:
    """The basis turned inside its span so that each direction has a strength of its own."""
    if len(basis) < 2:
        return basis
    fits = [
        fit_relation(q @ each.measured.change, q @ each.measured.before).matrix
        for each in changed
        if each.member is None
        for q in [_carried_basis(basis, each.gain)]
    ]
    mean = np.mean(fits, axis=0)
    values, turn = np.linalg.eigh((mean + mean.T) / 2)
    return np.asarray(turn[:, np.argsort(-np.abs(values))].T @ basis)


def _weight(changed: Changed) -> float:
    numbers = changed.measured.numbers
    noise = max(numbers.floor, numbers.energy / _PRECISE)
    return max(numbers.above_floor, noise / _PRECISE) / noise


def _oriented(rows: Array) -> Array:
    """Each row with its largest entry positive: a direction has no sign of its own."""
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)
    return np.asarray(rows * np.sign(largest))
