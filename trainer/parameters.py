"""The arrays of a dictionary in training: a plain dict, so that any JAX transformation takes it as it is.

key            shape                meaning
encoder        (n_features, d_in)   one row a feature, contiguous
encoder_bias   (n_features,)
decoder        (n_features, d_out)  one row a feature, unit norm after every step
decoder_bias   (d_out,)
scale          (n_features,)        ReLU: a trained factor on each feature
gate_bias, magnitude_bias, log_magnitude   (n_features,)   gated, instead of encoder_bias
log_threshold  (n_features,)        JumpReLU, in training
threshold      () or (n_features,)  BatchTopK and its kin in training, every kind with a threshold in a file
skip           (d_out, d_in)        transcoder with a linear path beside the features

reconstruction = codes · decoder + decoder_bias [+ x · skipᵀ]
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Parameters = dict[str, jax.Array]


def unit_rows(rows: jax.Array) -> jax.Array:
    """Rows divided by (1e-6 + their norm), the seed's guard against silent rows; any (n, d) in, the same
    out."""
    norms: jax.Array = jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / (1e-6 + norms)


def moved_on_sphere(rows: jax.Array, update: jax.Array) -> jax.Array:
    """Unit rows (n, d) after a step `update` (n, d), its part along each row left out, at unit norm again.

    A step along a unit row is undone by the renormalisation; taking it out first keeps the second moments and
    the step length for what can change. The new norm follows from three sums that one pass over memory gives:
    with a = u·w, w' = (1 − a) w + u has ‖w'‖² = (1 − a)² ‖w‖² + 2 (1 − a) a + ‖u‖².
    """
    products = (update * rows, rows * rows, update * update)
    # one reduction of three, which XLA keeps in one pass over memory
    zero = jnp.zeros((), rows.dtype)
    sums = jax.lax.reduce(products, (zero,) * 3, lambda a, b: tuple(map(jnp.add, a, b)), (1,))
    along, square, step = (total[:, None] for total in sums)
    kept = 1 - along
    norms = jnp.sqrt(jnp.maximum(kept**2 * square + 2 * kept * along + step, 0.0))
    moved: jax.Array = (kept * rows + update) / (1e-6 + norms)
    return moved


def decode(parameters: Parameters, codes: jax.Array, x: jax.Array) -> jax.Array:
    """Reconstruction (batch, d_out) from dense codes (batch, n_features) of x (batch, d_in)."""
    output = codes @ parameters["decoder"] + parameters["decoder_bias"][None, :]
    return output + x @ parameters["skip"].T if "skip" in parameters else output


def decode_columns(decoder: jax.Array, codes: jax.Array) -> jax.Array:
    """codesᵀ · decoder (batch, d_out), from codes with a row a feature (n_features, batch).

    Computed as (decoderᵀ · codes)ᵀ, which takes two thirds of the time on a CPU; the barrier keeps XLA from
    turning the product round again.
    """
    barrier: Callable[[jax.Array], jax.Array] = jax.lax.optimization_barrier
    return barrier(decoder.T @ codes).T


def orthogonal_encoder(key: jax.Array, n_features: int, d_model: int) -> jax.Array:
    """Encoder rows (n_features, d_model) whose matrix has orthonormal columns (or rows, when that side is
    shorter)."""
    return jax.nn.initializers.orthogonal()(key, (d_model, n_features), jnp.float32).T


def random_unit_rows(key: jax.Array, n_features: int, d_model: int) -> jax.Array:
    """Independent uniform directions, one a row (n_features, d_model)."""
    return unit_rows(jax.random.normal(key, (n_features, d_model), jnp.float32))
