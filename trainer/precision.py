"""What a train state holds between two steps: float32, or less of it. Arithmetic is float32 in any case.

    bfloat16   matrices and `scale` in bfloat16, every other array float32
    int8       matrices in blocks of 16 along a row: x ≈ zero + q · step with zero = min,
               step = (max − min) / 255, q = round((x − zero) / step) in 0 … 255; zero and step in bfloat16,
               so 8 + 2·16/16 = 10 bits a weight. A block without a step is its zero.
    second moment in int8: the same blocks of √ν, squared when read; the smallest of a block never becomes 0

There is no master copy in float32: rounding to nearest loses a step below half a quantum. Stochastic
rounding keeps it in the mean: q = ⌊(x − zero) / step + u⌋ with u uniform in [0, 1), and for bfloat16 sixteen
random bits added below the cut. Source: the saex trainer behind the post this tool follows (blocks of 16 with
zero points, which divide by 0 on a constant block there).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from surgery.errors import SourceError
from trainer.config import TrainingSettings
from trainer.parameters import Parameters

BLOCK = 16
LEVELS = 255


class Blocks(NamedTuple):
    """A matrix in 8-bit blocks along its rows."""

    codes: jax.Array  # (rows, d) uint8
    zero: jax.Array  # (rows, d / 16) bfloat16
    step: jax.Array  # (rows, d / 16) bfloat16


Stored = dict[str, "jax.Array | Blocks"]


def to_blocks(matrix: jax.Array, key: jax.Array | None = None) -> Blocks:
    """Blocks of a float32 matrix (rows, d), d a multiple of 16; with a key rounded stochastically."""
    rows, width = matrix.shape
    parts = matrix.reshape(rows, width // BLOCK, BLOCK)
    zero = parts.min(2).astype(jnp.bfloat16)
    low = zero.astype(jnp.float32)
    step = ((parts.max(2) - low) / LEVELS).astype(jnp.bfloat16)
    size = step.astype(jnp.float32)[:, :, None]
    scaled = jnp.where(size > 0, (parts - low[:, :, None]) / jnp.where(size > 0, size, 1.0), 0.0)
    level = jnp.round(scaled) if key is None else jnp.floor(scaled + jax.random.uniform(key, scaled.shape))
    return Blocks(jnp.clip(level, 0, LEVELS).astype(jnp.uint8).reshape(rows, width), zero, step)


def from_blocks(blocks: Blocks) -> jax.Array:
    """The matrix (rows, d) in float32."""
    rows, width = blocks.codes.shape
    levels = blocks.codes.reshape(rows, width // BLOCK, BLOCK).astype(jnp.float32)
    zero, step = (array.astype(jnp.float32)[:, :, None] for array in (blocks.zero, blocks.step))
    return (zero + levels * step).reshape(rows, width)


def to_bfloat16(array: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """float32 as bfloat16, to nearest or, with a key, stochastically."""
    if key is None:
        return array.astype(jnp.bfloat16)
    bits = jax.lax.bitcast_convert_type(array, jnp.uint32)
    noise = jax.random.bits(key, array.shape, jnp.uint32) >> jnp.uint32(16)
    cut = (bits + noise) & jnp.uint32(0xFFFF0000)
    return jax.lax.bitcast_convert_type(cut, jnp.float32).astype(jnp.bfloat16)


def pack(parameters: Parameters, training: TrainingSettings, updates: jax.Array) -> Stored:
    """Parameters as the state holds them; `updates`, the number of the step, seeds stochastic rounding.

    Raises: SourceError when 8-bit rows are no multiple of 16 long.
    """
    if training.weights == "float32":
        return dict(parameters)
    seed, stored = jax.random.fold_in(jax.random.key(0), updates), Stored()
    for place, name in enumerate(sorted(parameters)):
        array = parameters[name]
        key = jax.random.fold_in(seed, place) if training.rounding == "stochastic" else None
        if array.ndim == 2 and training.weights == "int8":
            _check_width(name, array)
            stored[name] = to_blocks(array, key)
        else:
            stored[name] = to_bfloat16(array, key) if array.ndim == 2 or name == "scale" else array
    return stored


def unpack(stored: Stored) -> Parameters:
    """The parameters in float32."""
    return {
        name: from_blocks(array) if isinstance(array, Blocks) else array.astype(jnp.float32)
        for name, array in stored.items()
    }


def pack_moments(second: Parameters, training: TrainingSettings) -> Stored:
    """Second moments as the state holds them. Raises: SourceError like `pack`."""
    if training.second_moment == "float32":
        return dict(second)
    stored = Stored()
    for name, array in second.items():
        if array.ndim == 2:
            _check_width(name, array)
        stored[name] = to_blocks(jnp.sqrt(array)) if array.ndim == 2 else array
    return stored


def unpack_moments(stored: Stored) -> Parameters:
    """The second moments in float32."""
    return {
        name: jnp.square(from_blocks(array)) if isinstance(array, Blocks) else array
        for name, array in stored.items()
    }


def _check_width(name: str, array: jax.Array) -> None:
    if array.shape[1] % BLOCK:
        raise SourceError(
            f"{name} has rows of {array.shape[1]} numbers, no multiple of {BLOCK}; leave training.weights and"
            " training.second_moment at float32, or weights at bfloat16"
        )
