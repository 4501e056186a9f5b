"""The arrays of a dictionary in training: a plain dict, so that any JAX transformation takes it as it is.

key            shape                meaning
encoder        (n_features, d_in)   one row a feature, contiguous
encoder_bias   (n_features,)
decoder        (n_features, d_out)  one row a feature, unit norm after every step
decoder_bias   (d_out,)
scale          (n_features,)        ReLU only: a trained factor on each feature

reconstruction = codes · decoder + decoder_bias
"""

import jax
import jax.numpy as jnp
import numpy as np

Parameters = dict[str, jax.Array]


def unit_rows(rows: jax.Array) -> jax.Array:
    """Rows divided by (1e-6 + their norm), the seed's guard against silent rows; any (n, d) in, the same
    out."""
    norms: jax.Array = jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / (1e-6 + norms)


def off_rows(update: jax.Array, rows: jax.Array) -> jax.Array:
    """The part of each row of `update` (n, d) that is orthogonal to the unit row of `rows` (n, d) beside it.

    A step along a unit row is undone by the renormalisation that follows; taking it out first keeps the
    second moments and the step length for what can change.
    """
    return update - jnp.sum(update * rows, axis=-1, keepdims=True) * rows


def decode(parameters: Parameters, codes: jax.Array) -> jax.Array:
    """Reconstruction (batch, d_out) from dense codes (batch, n_features)."""
    return codes @ parameters["decoder"] + parameters["decoder_bias"][None, :]


def orthogonal_encoder(key: jax.Array, n_features: int, d_model: int) -> jax.Array:
    """Encoder rows (n_features, d_model) whose matrix has orthonormal columns (or rows, when that side is
    shorter)."""
    return jax.nn.initializers.orthogonal()(key, (d_model, n_features), jnp.float32).T


def random_unit_rows(key: jax.Array, n_features: int, d_model: int) -> jax.Array:
    """Independent uniform directions, one a row (n_features, d_model)."""
    return unit_rows(jax.random.normal(key, (n_features, d_model), jnp.float32))


def is_finite(parameters: Parameters) -> bool:
    """Whether every number of every array is finite."""
    return all(bool(np.isfinite(np.asarray(array)).all()) for array in parameters.values())
