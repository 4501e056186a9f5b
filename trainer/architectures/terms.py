"""What a loss tells beside its value, and a loss that brings its own gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax

from trainer.parameters import Parameters


class Terms(NamedTuple):
    """Parts of a loss and how often features fired; all for one batch."""

    reconstruction: jax.Array  # () as weighted in the loss
    sparsity: jax.Array  # () as weighted in the loss
    revival: jax.Array  # () the dead features' term as weighted in the loss (ghost gradients, AuxK)
    l0: jax.Array  # () mean active features per row
    squared_error: jax.Array  # () sum over the batch
    active: jax.Array  # (n_features,) int32, on how many rows
    estimates: dict[str, jax.Array]  # arrays that are measured, not learnt: they replace those of that name


Loss = Callable[[Parameters, jax.Array, jax.Array, jax.Array, Any], tuple[jax.Array, Terms]]
LossAndGradients = Callable[
    [Parameters, jax.Array, jax.Array, jax.Array, Any], tuple[jax.Array, Terms, Parameters]
]


def with_own_gradient(found: LossAndGradients) -> Loss:
    """The loss (parameters, x, target, dead, settings) -> (L, Terms) whose `jax.grad` in the parameters is
    what `found` returns; data gets none."""

    @partial(jax.custom_vjp, nondiff_argnums=(4,))
    def loss(
        parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: Any
    ) -> tuple[jax.Array, Terms]:
        value, terms, _ = found(parameters, x, target, dead, settings)
        return value, terms

    def forward(
        parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: Any
    ) -> tuple[tuple[jax.Array, Terms], Parameters]:
        value, terms, gradients = found(parameters, x, target, dead, settings)
        return (value, terms), gradients

    def backward(settings: Any, gradients: Parameters, cotangent: Any) -> tuple[Parameters, None, None, None]:
        return jax.tree.map(lambda g: g * cotangent[0], gradients), None, None, None

    loss.defvjp(forward, backward)
    return loss
