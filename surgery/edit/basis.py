"""The orthonormal basis that one tensor is projected with: its directions, carried through the norms behind
it, from the stream back to the writer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.edit.plan import Plan, TensorEdit
from surgery.errors import EditError
from surgery.linalg.projection import DependentDirectionsError, orthonormal_basis, transport
from surgery.model.anatomy import Gain

Array = npt.NDArray[np.float64]


def tensor_basis(edit: TensorEdit, plan: Plan, checkpoint: Checkpoint) -> Array:
    """Orthonormal rows (k, d_model), one per direction of the edit and in their order.

    Raises:
        EditError: the directions depend on each other, or a norm behind the tensor passes nothing of one.
    """
    directions = [plan.vectors[name] for name in edit.directions]
    for gain in reversed(edit.gain.chain() if edit.gain is not None else ()):
        factors = read_gain(gain, checkpoint)
        directions = [
            _transported(edit, name, direction, gain, factors)
            for name, direction in zip(edit.directions, directions, strict=True)
        ]
    try:
        return orthonormal_basis(directions)
    except DependentDirectionsError as error:
        name = edit.directions[error.index]
        raise EditError(
            f"{edit.tensor}: direction {name!r} lies in the span of"
            f" {', '.join(edit.directions[: error.index])};"
            " leave one of them out"
        ) from error


def read_gain(gain: Gain, checkpoint: Checkpoint) -> Array:
    """The factors (d_model,) that a norm multiplies by, per coordinate of the stream."""
    import torch

    weight: Array = read_tensor(checkpoint, gain.tensor, torch.float64).numpy()
    return gain.offset + weight


def _transported(edit: TensorEdit, name: str, direction: Array, gain: Gain, factors: Array) -> Array:
    try:
        return transport(direction, factors, centred=gain.centred)
    except ValueError as error:
        raise EditError(
            f"{edit.tensor}: the norm behind it ({gain.tensor}) passes nothing of {name!r} or is not finite;"
            " leave this layer out"
        ) from error
