"""One step of training: gradient, Adam (momentumless unless asked), decoder rows kept on the unit sphere.

    g = ∇L(a·x)        clip to a joint norm        u = −η_t · m̂ / (√ν̂ + ε)
    decoder: u ← u − (w·u) w per row, W ← unit rows of W + u;  every other array: W ← W + u

What a loss measures instead of learning (`Terms.estimates`) takes the place of the array of that name.
Which features are dead is the matter of `trainer.firing`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trainer.architectures import ARCHITECTURES
from trainer.config import Config, TrainingSettings
from trainer.firing import Firing, after_step, dead_features, unknown
from trainer.kinds import DictionarySettings, TranscoderSettings
from trainer.normalization import Scales
from trainer.optimizer import (
    Moments,
    clip_by_global_norm,
    initial_moments,
    learning_rate,
    scale_by_moments,
)
from trainer.parameters import Parameters, moved_on_sphere
from trainer.placement import keep_places
from trainer.precision import Stored, pack, pack_moments, unpack, unpack_moments


class HeldMoments(NamedTuple):
    """`Moments` between two steps."""

    updates: jax.Array  # () int32
    second: Stored
    first: Parameters


class TrainState(NamedTuple):
    """All that a step changes."""

    parameters: Stored  # for inputs at norm √d; float32 or packed
    moments: HeldMoments
    firing: Firing


Numbers = dict[str, jax.Array]  # name -> scalar
Step = Callable[[TrainState, jax.Array], tuple[TrainState, Numbers]]


def split(rows: jax.Array, d_in: int, settings: DictionarySettings) -> tuple[jax.Array, jax.Array]:
    """What a dictionary reads and what it must write, of rows (n, d_in), or both side by side."""
    return (rows[:, :d_in], rows[:, d_in:]) if isinstance(settings, TranscoderSettings) else (rows, rows)


def initial_state(key: jax.Array, sample: jax.Array, target: jax.Array, config: Config) -> TrainState:
    """Parameters as the architecture begins, from normalised activations (n, d_in) and targets (n, d_out); no
    feature dead."""
    settings = config.dictionary
    parameters = ARCHITECTURES[settings.architecture].initialise(key, sample, target, settings)
    moments = initial_moments(parameters, config.training.momentum)
    return held(parameters, moments, unknown(settings.features), config.training)


def held(parameters: Parameters, moments: Moments, firing: Firing, training: TrainingSettings) -> TrainState:
    """The state between two steps, in the precision that `training` asks for."""
    kept = HeldMoments(moments.updates, pack_moments(moments.second, training), moments.first)
    return TrainState(pack(parameters, training, moments.updates), kept, firing)


def apply_updates(parameters: Parameters, updates: Parameters) -> Parameters:
    """parameters + updates, the decoder's rows moved along the sphere."""
    moved = {name: parameters[name] + updates[name] for name in parameters if name != "decoder"}
    return {**moved, "decoder": moved_on_sphere(parameters["decoder"], updates["decoder"])}


def make_step(settings: DictionarySettings, training: TrainingSettings, scales: Scales) -> Step:
    """The compiled step (state, raw rows (batch, d)) -> (state, numbers); the state is donated."""
    return partial(_step, scales=jnp.array(scales, jnp.float32), settings=settings, training=training)


@partial(jax.jit, static_argnames=("settings", "training"), donate_argnums=0)
def _step(
    state: TrainState,
    rows: jax.Array,
    *,
    scales: jax.Array,
    settings: DictionarySettings,
    training: TrainingSettings,
) -> tuple[TrainState, Numbers]:
    before = unpack(state.parameters)
    x, target = split(rows, before["encoder"].shape[1], settings)
    # one product where there is one array: two of them would be two arrays to XLA
    x, target = (x * scales[0], target * scales[1]) if x is not target else (x * scales[0],) * 2
    dead = dead_features(state.firing, training)
    loss = jax.value_and_grad(ARCHITECTURES[settings.architecture].loss, has_aux=True)
    (value, terms), gradients = loss(before, x, target, dead, settings)
    if training.clip is not None:
        gradients = clip_by_global_norm(gradients, training.clip)
    held_moments = state.moments
    known = Moments(held_moments.updates, unpack_moments(held_moments.second), held_moments.first)
    scaled, moments = scale_by_moments(gradients, known, training.decay, training.momentum)
    rate = learning_rate(moments.updates, training.learning_rate, training.warmup, training.steps)
    parameters = apply_updates(before, jax.tree.map(lambda u: -rate * u, scaled)) | terms.estimates
    firing = after_step(state.firing, terms.active, moments.updates, training)
    variance = jnp.sum(jnp.square(target - target.mean(0, keepdims=True)))
    numbers = {
        "loss": value,
        "reconstruction": terms.reconstruction,
        "sparsity": terms.sparsity,
        "revival": terms.revival,
        "fvu_batch": terms.squared_error / variance,
        "l0": terms.l0,
        "dead_share": dead.astype(jnp.float32).mean(),
        "learning_rate": rate,
    }
    return keep_places(held(parameters, moments, firing, training)), numbers
