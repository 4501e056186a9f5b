"""One step of training: gradient, momentumless Adam, and decoder rows that stay on the unit sphere.

    g = ∇L(a·x)        clip to a joint norm        u = −η_t · g / (√ν̂ + ε)
    decoder: u ← u − (w·u) w per row, W ← unit rows of W + u;  every other array: W ← W + u

A feature is dead when it was silent on more than `dead_after` tokens; the step keeps the count.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trainer.architectures import ARCHITECTURES
from trainer.config import DictionarySettings, TrainingSettings
from trainer.optimizer import (
    Moments,
    clip_by_global_norm,
    initial_moments,
    learning_rate,
    scale_by_second_moment,
)
from trainer.parameters import Parameters, off_rows, unit_rows

SILENCE_LIMIT = 2**30  # where the count of silent tokens stops, well inside int32


class TrainState(NamedTuple):
    """All that a step changes."""

    parameters: Parameters  # for inputs at norm √d
    moments: Moments
    silent: jax.Array  # (n_features,) int32, tokens since each feature fired


Numbers = dict[str, jax.Array]  # name -> scalar
Step = Callable[[TrainState, jax.Array, jax.Array], tuple[TrainState, Numbers]]


def initial_state(key: jax.Array, sample: jax.Array, settings: DictionarySettings) -> TrainState:
    """Parameters as the architecture begins, from normalised activations `sample` (n, d); no feature dead."""
    parameters = ARCHITECTURES[settings.architecture].initialise(key, sample, settings)
    return TrainState(parameters, initial_moments(parameters), jnp.zeros(settings.features, jnp.int32))


def apply_updates(parameters: Parameters, updates: Parameters) -> Parameters:
    """parameters + updates, the decoder's rows moved along the sphere."""
    moved = {name: parameters[name] + updates[name] for name in parameters if name != "decoder"}
    decoder = parameters["decoder"]
    return {**moved, "decoder": unit_rows(decoder + off_rows(updates["decoder"], decoder))}


def make_step(settings: DictionarySettings, training: TrainingSettings) -> Step:
    """The compiled step (state, raw x (batch, d), scale ()) -> (state, numbers); the state is donated."""
    return partial(_step, settings=settings, training=training)


@partial(jax.jit, static_argnames=("settings", "training"), donate_argnums=0)
def _step(
    state: TrainState,
    x: jax.Array,
    scale: jax.Array,
    *,
    settings: DictionarySettings,
    training: TrainingSettings,
) -> tuple[TrainState, Numbers]:
    x = x * scale
    dead = state.silent > training.dead_after
    loss = ARCHITECTURES[settings.architecture].loss
    (value, terms), gradients = jax.value_and_grad(loss, has_aux=True)(state.parameters, x, dead, settings)
    if training.clip is not None:
        gradients = clip_by_global_norm(gradients, training.clip)
    scaled, moments = scale_by_second_moment(gradients, state.moments, training.decay)
    rate = learning_rate(moments.updates, training.learning_rate, training.warmup, training.steps)
    parameters = apply_updates(state.parameters, jax.tree.map(lambda u: -rate * u, scaled))
    silent = jnp.where(terms.fired, 0, jnp.minimum(state.silent + x.shape[0], SILENCE_LIMIT))
    numbers = {
        "loss": value,
        "reconstruction": terms.reconstruction,
        "sparsity": terms.sparsity,
        "revival": terms.revival,
        "fvu_batch": terms.squared_error / jnp.sum(jnp.square(x - x.mean(0, keepdims=True))),
        "l0": terms.l0,
        "dead_share": dead.astype(jnp.float32).mean(),
        "learning_rate": rate,
    }
    return TrainState(parameters, moments, silent), numbers
