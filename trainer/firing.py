"""How often features fire, and which of them are dead.

    dead where   tokens since it fired > dead_after
          or     share of tokens on which it fired, in the last whole window of steps < rare_below

The second is asked for only where a config sets `rare_below`. Source: the saex trainer behind the post this
tool follows (density below 5e-6 over 1,000 batches, or 2,000 batches without a token). It keeps the batches
one by one and looks back at any step; here windows follow each other, for one number a feature.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trainer.config import TrainingSettings

LIMIT = 2**30  # where the count of silent tokens stops, well inside int32


class Firing(NamedTuple):
    """What is known of each feature; every array is (n_features,)."""

    silent: jax.Array  # int32, tokens since it fired
    counted: jax.Array  # int32, tokens on which it fired in the running window
    rare: jax.Array  # bool, whether it fired too seldom in the last one


def unknown(n_features: int) -> Firing:
    """Before the first step: no feature is dead."""
    # three arrays: a donated pytree may not hold one twice
    silent, counted = jnp.zeros(n_features, jnp.int32), jnp.zeros(n_features, jnp.int32)
    return Firing(silent, counted, jnp.zeros(n_features, bool))


def dead_features(firing: Firing, training: TrainingSettings) -> jax.Array:
    """Which are dead, (n_features,) bool."""
    return (firing.silent > training.dead_after) | firing.rare


def after_step(firing: Firing, active: jax.Array, updates: jax.Array, training: TrainingSettings) -> Firing:
    """The state when features fired on `active` (n_features,) tokens of step number `updates`, 1 …"""
    silent = jnp.where(active > 0, 0, jnp.minimum(firing.silent + training.batch, LIMIT))
    if training.rare_below is None:
        return firing._replace(silent=silent)
    counted, ends = firing.counted + active, updates % training.rare_window == 0
    least = training.rare_below * training.rare_window * training.batch
    rare = jnp.where(ends, counted.astype(jnp.float32) < least, firing.rare)
    return Firing(silent, jnp.where(ends, 0, counted), rare)
