"""What one tensor is projected with: its directions, carried through what stands behind it, from the stream
back to the writer.

Behind a norm of gain g a direction r becomes g∘r. A short convolution adds what was written at earlier
positions, each with its own gain, Σ_j c_j∘(W x_{t−j}); so r leaves the stream when every c_j∘r is taken out
of W, all with the strength of r.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.layout import Checkpoint
from surgery.edit.plan import Plan, TensorEdit
from surgery.errors import EditError
from surgery.linalg.projection import DependentDirectionsError, orthonormal_basis, transport
from surgery.model.anatomy import Gain
from surgery.model.gains import read_factors

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Basis:
    """Orthonormal `rows` (k, d_model) in the order of an edit's directions, several of one direction behind a
    convolution; `strengths` has one for each row.
    """

    rows: Array
    strengths: tuple[float, ...]


def tensor_basis(edit: TensorEdit, plan: Plan, checkpoint: Checkpoint) -> Basis:
    """The rows for one edit.

    Raises:
        EditError: the directions depend on each other, or what is behind the tensor passes nothing of one.
    """
    carried = [_carried(edit, name, plan.vectors[name], checkpoint) for name in edit.directions]
    names = [name for name, rows in zip(edit.directions, carried, strict=True) for _ in rows]
    strengths = [each for each, rows in zip(edit.strengths, carried, strict=True) for _ in rows]
    try:
        return Basis(orthonormal_basis([row for rows in carried for row in rows]), tuple(strengths))
    except DependentDirectionsError as error:
        raise EditError(
            f"{edit.tensor}: direction {names[error.index]!r} lies in the span of"
            f" {', '.join(dict.fromkeys(names[: error.index]))}; leave one of them out"
        ) from error


def _carried(edit: TensorEdit, name: str, direction: Array, checkpoint: Checkpoint) -> list[Array]:
    """What must leave the tensor so that a direction leaves the stream."""
    rows = [direction]
    for gain in reversed(edit.gain.chain() if edit.gain is not None else ()):
        factors = read_factors(gain, checkpoint)
        rows = _independent([each for row in rows for each in _transported(edit, name, row, gain, factors)])
    return rows


def _transported(edit: TensorEdit, name: str, row: Array, gain: Gain, factors: Array) -> list[Array]:
    passing = [each for each in factors if not gain.taps or np.any(each * row)]
    try:
        found = [transport(row, each, centred=gain.centred) for each in passing]
    except ValueError as error:
        raise _passes_nothing(edit, name, gain) from error
    if not found:
        raise _passes_nothing(edit, name, gain)
    return found


def _passes_nothing(edit: TensorEdit, name: str, gain: Gain) -> EditError:
    return EditError(
        f"{edit.tensor}: what stands behind it ({gain.tensor}) passes nothing of {name!r} or is not finite;"
        " leave this layer out"
    )


def _independent(rows: Sequence[Array]) -> list[Array]:
    """The rows without those that lie in the span of the ones before them."""
    found: list[Array] = []
    for row in rows:
        try:
            orthonormal_basis([*found, row])
        except DependentDirectionsError:
            continue
        found.append(row)
    return found
