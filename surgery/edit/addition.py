"""A steering vector that is added to the output of a layer: h_l ← h_l + v at `resid_post` of layer l."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from surgery.direction.direction import Direction
from surgery.errors import EditError
from surgery.hook_point import HookPoint
from surgery.recipe.editing import Add, Scale


@dataclass(frozen=True)
class Addition:
    """One vector, (d_model,) float64 with its own length, and where it is added."""

    direction: str
    vector: np.ndarray
    point: HookPoint

    @property
    def norm(self) -> float:
        return float(np.linalg.norm(self.vector))


def make_additions(
    steps: Sequence[Add], directions: Mapping[str, Direction], n_layers: int
) -> tuple[Addition, ...]:
    """The vectors that a recipe adds.

    Raises:
        EditError: a step names a layer that the model does not have.
    """
    return tuple(_make_addition(step, directions[step.add], n_layers) for step in steps)


def _make_addition(step: Add, direction: Direction, n_layers: int) -> Addition:
    if step.layer >= n_layers:
        raise EditError(f"add {step.add}: layer {step.layer}, and the model has layers 0 to {n_layers - 1}")
    length = _length(step.scale, direction)
    return Addition(
        step.add, direction.vector.astype(np.float64) * length, HookPoint(step.layer, "resid_post")
    )


def _length(scale: Scale, direction: Direction) -> float:
    return scale.norm if scale.norm is not None else float(scale.times or 0.0) * direction.norm
