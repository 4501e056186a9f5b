"""TopK dictionary whose gradient touches only the rows that were active.

    π = (x − bᵈ) Wᵉᵀ + bᵉ        (v, i) = top-k of π, v ← relu(v)        x̂ = Σ_k v_k Wᵈ[i_k] + bᵈ
    L = Σ‖x̂ − x‖² / V + α · min(n_dead / k_aux, 1) · Σ‖ê − e‖² / V        V = Σ‖x − mean_batch x‖²

so the first term is the fraction of variance unexplained in the batch. ê is the same sum over the k_aux
strongest DEAD features, e = stop(x − x̂) (AuxK, Gao et al. 2024, §A.2). Its gradient reaches the encoder: a
dead feature whose encoder row gets none never comes back.

Loss and gradient are one pass over chunks of rows, because the gathered rows (chunk, k, d) of a small chunk
stay in the cache and a whole batch of them would be the largest array of the step. Autodiff of the same
formula would fill a dense (batch, n_features) gradient and multiply with it twice. Cost per row: 2·d·m for π
and 8·k·d for the rest.
"""

from functools import partial
from math import gcd
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trainer.architectures.terms import Terms
from trainer.config import TopkSettings
from trainer.parameters import Parameters, random_unit_rows

CHUNK = 32


class SparseCodes(NamedTuple):
    """Codes of a batch, k a row."""

    values: jax.Array  # (batch, k) ≥ 0
    indices: jax.Array  # (batch, k) feature numbers


def initialise(key: jax.Array, sample: jax.Array, settings: TopkSettings) -> Parameters:
    """Random unit decoder rows, the encoder a copy of them, the decoder bias the mean of `sample` (n, d)."""
    decoder = random_unit_rows(key, settings.features, sample.shape[1])
    return {
        "encoder": decoder + 0.0,
        "encoder_bias": jnp.zeros(settings.features, jnp.float32),
        "decoder": decoder,
        "decoder_bias": sample.mean(0),
    }


def preactivations(parameters: Parameters, x: jax.Array) -> jax.Array:
    """π (batch, n_features), with bᵈ taken off through the bias: one matrix product less in the gradient."""
    offset = parameters["encoder_bias"] - parameters["encoder"] @ parameters["decoder_bias"]
    return x @ parameters["encoder"].T + offset[None, :]


def strongest(pre: jax.Array, k: int) -> SparseCodes:
    """The k largest of each row of (batch, n_features), negative ones as 0."""
    values, indices = jax.lax.top_k(pre, k)
    return SparseCodes(jax.nn.relu(values), indices)


def encode(parameters: Parameters, x: jax.Array, settings: TopkSettings) -> jax.Array:
    """Dense codes (batch, n_features) with at most k non-zeros a row."""
    codes = strongest(preactivations(parameters, x), settings.k)
    rows = jnp.arange(x.shape[0])[:, None]
    return jnp.zeros((x.shape[0], settings.features), jnp.float32).at[rows, codes.indices].set(codes.values)


def _chunks(array: jax.Array) -> jax.Array:
    size = gcd(array.shape[0], CHUNK)
    return array.reshape(-1, size, *array.shape[1:])


def _sweep(
    gradients: Parameters,
    parameters: Parameters,
    x: jax.Array,
    goal: jax.Array,
    codes: SparseCodes,
    weight: jax.Array,
) -> tuple[Parameters, jax.Array]:
    """Add the gradient of weight·Σ‖Σ_k v_k Wᵈ[i_k] − goal‖² to `gradients`; also the errors (batch, d).

    The term of the decoder bias by way of `goal` is the caller's; the one by way of π is in `encoder_bias`,
    from which the caller completes it.
    """
    decoder, d_model = parameters["decoder"], x.shape[1]

    def chunk(total: Parameters, rows: tuple[jax.Array, ...]) -> tuple[Parameters, jax.Array]:
        centred, target, values, indices = rows
        atoms = decoder[indices]  # (chunk, k, d)
        error = jnp.einsum("ck,ckd->cd", values, atoms) - target
        slope = 2 * weight * error
        at_values = jnp.where(values > 0, jnp.einsum("cd,ckd->ck", slope, atoms), 0.0)
        flat = indices.reshape(-1)
        added = {
            "encoder": (at_values[:, :, None] * centred[:, None, :]).reshape(-1, d_model),
            "encoder_bias": at_values.reshape(-1),
            "decoder": (values[:, :, None] * slope[:, None, :]).reshape(-1, d_model),
        }
        return {name: total[name].at[flat].add(added[name]) for name in added}, error

    centred = x - parameters["decoder_bias"][None, :]
    rows = tuple(_chunks(array) for array in (centred, goal, codes.values, codes.indices))
    total, errors = jax.lax.scan(chunk, gradients, rows)
    return total, errors.reshape(x.shape)


def _auxiliary(
    gradients: Parameters, parameters: Parameters, x: jax.Array, residual: jax.Array, weight: jax.Array,
    pre: jax.Array, dead: jax.Array, settings: TopkSettings,
) -> tuple[Parameters, jax.Array]:  # fmt: skip
    """AuxK: `gradients` with its part added, and its loss."""
    k_aux = auxiliary_k(settings, x.shape[1])
    codes = strongest(jnp.where(dead[None, :], pre, -jnp.inf), k_aux)
    share = jnp.minimum(dead.sum().astype(jnp.float32) / k_aux, 1.0)
    weight = settings.auxiliary * share * weight
    gradients, errors = _sweep(gradients, parameters, x, residual, codes, weight)
    return gradients, weight * jnp.sum(errors * errors)


def auxiliary_k(settings: TopkSettings, d_model: int) -> int:
    """k_aux = d_model / 2, at least 1 and at most the number of features."""
    return max(1, min(settings.features, d_model // 2))


def loss_and_gradients(
    parameters: Parameters, x: jax.Array, dead: jax.Array, settings: TopkSettings
) -> tuple[jax.Array, Terms, Parameters]:
    """L, its terms, and dL/dparameters for x (batch, d) and dead features (n_features,) bool."""
    pre = preactivations(parameters, x)
    codes = strongest(pre, settings.k)
    weight = 1 / jnp.maximum(jnp.sum(jnp.square(x - x.mean(0, keepdims=True))), 1e-30)
    zeros = {name: jnp.zeros_like(parameters[name]) for name in ("encoder", "encoder_bias", "decoder")}
    goal = x - parameters["decoder_bias"][None, :]
    gradients, errors = _sweep(zeros, parameters, x, goal, codes, weight)
    gradients, revival = jax.lax.cond(
        dead.any() & (settings.auxiliary > 0),
        lambda g: _auxiliary(g, parameters, x, -errors, weight, pre, dead, settings),
        lambda g: (g, jnp.float32(0)),
        gradients,
    )
    through_codes = gradients["encoder_bias"] @ parameters["encoder"]
    gradients["decoder_bias"] = 2 * weight * errors.sum(0) - through_codes
    squared_error = jnp.sum(errors * errors)
    fired = (
        jnp.zeros(settings.features, bool).at[codes.indices.reshape(-1)].max((codes.values > 0).reshape(-1))
    )
    l0 = (codes.values > 0).sum(1).astype(jnp.float32).mean()
    reconstruction = squared_error * weight
    terms = Terms(reconstruction, jnp.float32(0), revival, l0, squared_error, fired)
    return reconstruction + revival, terms, gradients


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def loss(
    parameters: Parameters, x: jax.Array, dead: jax.Array, settings: TopkSettings
) -> tuple[jax.Array, Terms]:
    """L and its terms; `jax.grad` in the parameters gets the gradient of the pass itself, x and dead get
    none."""
    value, terms, _ = loss_and_gradients(parameters, x, dead, settings)
    return value, terms


def _forward(
    parameters: Parameters, x: jax.Array, dead: jax.Array, settings: TopkSettings
) -> tuple[tuple[jax.Array, Terms], Parameters]:
    value, terms, gradients = loss_and_gradients(parameters, x, dead, settings)
    return (value, terms), gradients


def _backward(settings: TopkSettings, gradients: Parameters, cotangent: Any) -> tuple[Parameters, None, None]:
    return jax.tree.map(lambda g: g * cotangent[0], gradients), None, None


loss.defvjp(_forward, _backward)
