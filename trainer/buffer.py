"""Shuffle buffer on the device: a ring of activations with one pointer, a plain pytree in and out.

A write puts its kept rows behind the pointer, wrapping round, and drops the others: their slot is set past
the end, where a scatter in mode "drop" ignores it, so a masked row can never wipe a neighbour. Over several
devices the slots are held in slices and the pointer by all: the ring is the same, so are the rows drawn.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trainer.placement import made_in_place, rows_over_data


class Buffer(NamedTuple):
    """State of the ring."""

    rows: jax.Array  # (capacity, d) float32
    pointer: jax.Array  # () int32, slot of the next write
    filled: jax.Array  # () int32, how many slots hold data


def zeros(capacity: int, d_model: int) -> Buffer:
    """A ring of `capacity` slots with nothing in it, on one device."""
    # two scalars: a donated pytree may not hold one array twice
    pointer, filled = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return Buffer(jnp.zeros((capacity, d_model), jnp.float32), pointer, filled)


def empty(capacity: int, d_model: int) -> Buffer:
    """`zeros` in slices."""
    return made_in_place(partial(zeros, capacity, d_model))


@partial(jax.jit, donate_argnums=0)
def write(buffer: Buffer, rows: jax.Array, keep: jax.Array) -> Buffer:
    """Rows (n, d) where `keep` (n,) is true, put behind the pointer; n must not exceed the capacity."""
    capacity = buffer.rows.shape[0]
    if rows.shape[0] > capacity:
        raise ValueError(f"{rows.shape[0]} rows do not fit a buffer of {capacity} slots in one write")
    offset = jnp.cumsum(keep.astype(jnp.int32)) - 1
    slot = jnp.where(keep, (buffer.pointer + offset) % capacity, capacity)
    count = keep.sum().astype(jnp.int32)
    return Buffer(
        rows_over_data(buffer.rows.at[slot].set(rows, mode="drop")),
        (buffer.pointer + count) % capacity,
        jnp.minimum(buffer.filled + count, capacity),
    )


@partial(jax.jit, static_argnums=2)
def sample(buffer: Buffer, key: jax.Array, count: int) -> jax.Array:
    """`count` filled rows (count, d), uniform with replacement. The buffer must not be empty."""
    return rows_over_data(buffer.rows[jax.random.randint(key, (count,), 0, buffer.filled)])
