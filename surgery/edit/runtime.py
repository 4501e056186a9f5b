"""A recipe's steps carried out in a running model instead of its weights: what edited weights are compared
with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from surgery.direction.direction import Direction, unit_direction
from surgery.edit.addition import make_additions
from surgery.edit.kernel import strength_at
from surgery.linalg.projection import orthonormal_basis
from surgery.model.interventions import WRITERS, ablating, adding
from surgery.model.language_model import LanguageModel
from surgery.recipe.editing import Ablate, Add


@contextmanager
def running(
    model: LanguageModel, steps: Sequence[Ablate | Add], directions: Mapping[str, Direction]
) -> Iterator[None]:
    """Hook a recipe's steps into a model. Ablations are orthonormalised in the order given, as the plan
    does."""
    ablations = [step for step in steps if isinstance(step, Ablate)]
    additions = make_additions([step for step in steps if isinstance(step, Add)], directions, model.n_layers)
    with ExitStack() as stack:
        if ablations:
            basis = orthonormal_basis(
                [directions[step.ablate].vector.astype(np.float64) for step in ablations]
            )
            for step, row in zip(ablations, basis, strict=True):
                writers = WRITERS if step.writers == "all" else step.writers
                for strength, layers in _by_strength(step, model.n_layers):
                    stack.enter_context(
                        ablating(model, row, strength=strength, writers=writers, layers=layers)
                    )
        for addition in additions:
            stack.enter_context(adding(model, addition.vector, addition.point))
        yield


def _by_strength(step: Ablate, n_layers: int) -> list[tuple[float, list[int] | None]]:
    """The strengths that a step acts with, each with its layers; None stands for all and the embedding."""
    if step.layers is None and step.kernel is None:
        return [(step.strength, None)]
    found: dict[float, list[int]] = {}
    for layer in range(n_layers):
        found.setdefault(strength_at(step, layer), []).append(layer)
    return [(strength, layers) for strength, layers in found.items() if strength != 0]


def random_directions(directions: Mapping[str, Direction], seed: int) -> dict[str, Direction]:
    """A random direction of the same length in place of each: the control for 'any direction would have done
    that'."""
    rng = np.random.default_rng(seed)
    return {
        name: Direction(unit_direction(rng.standard_normal(each.d_model)).vector, each.norm, each.hook_point)
        for name, each in directions.items()
    }
