"""Which features stay active, and with what codes.

π = x Wᵉᵀ + bᵉ, or (x − bᵈ) Wᵉᵀ + bᵉ        (v, i) = the codes kept of relu(π), k a row
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trainer.parameters import Parameters
from trainer.placement import MODEL, count

SPREAD = 4  # a row of a batch that shares its codes has at most this many times k


class SparseCodes(NamedTuple):
    """Codes of a batch, the same number for each row; what is not kept is 0."""

    values: jax.Array  # (batch, k) ≥ 0
    indices: jax.Array  # (batch, k) feature numbers


def preactivations(parameters: Parameters, x: jax.Array, *, centred: bool) -> jax.Array:
    """π (batch, n_features); bᵈ is taken off through the bias: one matrix product less in the gradient."""
    offset = parameters["encoder_bias"]
    if centred:
        offset = offset - parameters["encoder"] @ parameters["decoder_bias"]
    return x @ parameters["encoder"].T + offset[None, :]


def strongest(pre: jax.Array, k: int, recall: float | None = None) -> SparseCodes:
    """The k largest of each row of (batch, n_features), negative ones as 0."""
    if recall is None:
        values, indices = _top_k(pre, k)
    else:
        values, indices = jax.lax.approx_max_k(pre, k, recall_target=recall)
    return SparseCodes(jax.nn.relu(values), indices)


def _top_k(pre: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """`lax.top_k`; of features in slices, the strongest of each slice first, so that no slice is gathered."""
    parts, (rows, n_features) = count(MODEL), pre.shape
    if parts == 1:
        values, indices = jax.lax.top_k(pre, k)
        return values, indices
    size = n_features // parts
    values, indices = jax.lax.top_k(pre.reshape(rows, parts, size), min(k, size))
    indices = indices + size * jnp.arange(parts)[None, :, None]
    values, places = jax.lax.top_k(values.reshape(rows, -1), k)
    return values, jnp.take_along_axis(indices.reshape(rows, -1), places, axis=1)


def shared_strongest(pre: jax.Array, k: int) -> SparseCodes:
    """The k·batch largest of the whole (batch, n_features), at most `SPREAD`·k in one row."""
    codes = strongest(pre, min(pre.shape[1], SPREAD * k))
    bound = jax.lax.top_k(codes.values.reshape(-1), min(k * pre.shape[0], codes.values.size))[0][-1]
    return SparseCodes(jnp.where(codes.values >= bound, codes.values, 0.0), codes.indices)


def dense(codes: SparseCodes, n_features: int) -> jax.Array:
    """Codes as (batch, n_features)."""
    rows = jnp.arange(codes.values.shape[0])[:, None]
    empty = jnp.zeros((codes.values.shape[0], n_features), codes.values.dtype)
    return empty.at[rows, codes.indices].set(codes.values)


def auxiliary_k(n_features: int, d_model: int) -> int:
    """k_aux = d_model / 2, at least 1 and at most the number of features."""
    return max(1, min(n_features, d_model // 2))


def kept_codes(pre: jax.Array, codes: SparseCodes) -> jax.Array:
    """The codes of π (batch, n_features) as they stand, dense, without a scatter."""
    least = jnp.min(jnp.where(codes.values > 0, codes.values, jnp.inf), axis=1)
    return jnp.where(pre >= jax.lax.stop_gradient(least)[:, None], pre, 0.0)


def active_rows(codes: SparseCodes, n_features: int) -> jax.Array:
    """How many rows kept each feature, (n_features,) int32."""
    kept = (codes.values > 0).astype(jnp.int32).reshape(-1)
    return jnp.zeros(n_features, jnp.int32).at[codes.indices.reshape(-1)].add(kept)
