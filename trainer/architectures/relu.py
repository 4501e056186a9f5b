"""ReLU dictionary with the seed's loss.

    π = x Wᵉᵀ + bᵉ        p = relu(π)        h = p ⊙ s        x̂ = h Wᵈ + bᵈ
    R = (x̂ − x)² / (‖x − mean_batch x‖₂ + 1e-6)          "mse_batchnorm", norm per row
    S(p) = p | p / (p + ε) | tanh p | √p                 l1, reciprocal, tanh, sqrt
    L = mean R + c · mean_rows Σ_j S(p_j) + γ · ghost

Ghost gradients over the dead features only (softplus keeps a gradient where relu has none):

    g = softplus(π) ⊙ s on dead features, else 0        y = g Wᵈ        r = stop(x − x̂)
    y ← y · stop(‖r‖ / (2‖y‖ + 1e-10))        G = (y − r)²        G ← G · stop(R / (G + 1e-10))
    ghost = mean G · share of dead features

Means run over batch and dimensions alike, so c is about d_model times smaller than in libraries that sum over
dimensions. Source: the saex trainer behind the post this tool follows; the reciprocal is Eoin Farrell's.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trainer.architectures.terms import Terms, with_own_gradient
from trainer.kinds import ReluSettings
from trainer.parameters import Parameters, decode_columns, orthogonal_encoder, unit_rows


def initialise(key: jax.Array, sample: jax.Array, target: jax.Array, settings: ReluSettings) -> Parameters:
    """Orthogonal encoder, decoder its rows at unit norm, zero biases, unit scales. `sample` (n, d) gives d
    only."""
    encoder = orthogonal_encoder(key, settings.features, sample.shape[1])
    return {
        "encoder": encoder,
        "encoder_bias": jnp.zeros(settings.features, jnp.float32),
        "decoder": unit_rows(encoder),
        "decoder_bias": jnp.zeros(sample.shape[1], jnp.float32),
        "scale": jnp.ones(settings.features, jnp.float32),
    }


def preactivations(parameters: Parameters, x: jax.Array) -> jax.Array:
    """π (batch, n_features). The decoder bias is not taken off the input, as in the seed."""
    return x @ parameters["encoder"].T + parameters["encoder_bias"][None, :]


def encode(parameters: Parameters, x: jax.Array, settings: ReluSettings) -> jax.Array:
    """h (batch, n_features). A folded dictionary has no `scale`; it then counts as one."""
    positive = jax.nn.relu(preactivations(parameters, x))
    return positive * parameters["scale"][None, :] if "scale" in parameters else positive


def sparsity_penalty(positive: jax.Array, kind: str, epsilon: float) -> jax.Array:
    """S of non-negative activations, elementwise; `epsilon` is used by the reciprocal only."""
    if kind == "l1":
        return positive
    if kind == "reciprocal":
        return positive / (positive + epsilon)
    if kind == "tanh":
        return jnp.tanh(positive)
    # √ has no gradient at 0; the double `where` keeps a NaN out of the backward pass
    active = positive > 0
    return jnp.where(active, jnp.sqrt(jnp.where(active, positive, 1.0)), 0.0)


def reconstruction_error(output: jax.Array, target: jax.Array) -> jax.Array:
    """R (batch, d): squared error over each row's distance from the batch mean."""
    spread: jax.Array = jnp.linalg.norm(target - target.mean(0, keepdims=True), axis=1, keepdims=True)
    error: jax.Array = jnp.square(output - target)
    return error / (spread + 1e-6)


def ghost_term(ghost: jax.Array, residual: jax.Array, error: jax.Array, dead: jax.Array) -> jax.Array:
    """Ghost loss from the dead features' output (batch, d), the residual (batch, d) and R (batch, d); a
    scalar."""
    residual = jax.lax.stop_gradient(residual)
    # not jnp.linalg.norm under the gradient: stopped, its NaN derivative at a zero row never runs
    size = jax.lax.stop_gradient(jnp.linalg.norm(ghost, axis=1, keepdims=True))
    ghost = ghost * (jnp.linalg.norm(residual, axis=1, keepdims=True) / (2 * size + 1e-10))
    square: jax.Array = jnp.square(ghost - residual)
    square = square * jax.lax.stop_gradient(error / (square + 1e-10))
    total: jax.Array = square.mean()
    share: jax.Array = dead.astype(jnp.float32).mean()
    return total * share


class GhostWeights(NamedTuple):
    """What the ghost term is a function of, or its gradient."""

    encoder: jax.Array  # (n_features, d)
    bias: jax.Array  # (n_features,)
    decoder: jax.Array  # (n_features, d), with the scale in it where there is one


def _ghost(
    weights: GhostWeights, x: jax.Array, residual: jax.Array, error: jax.Array, dead: jax.Array
) -> jax.Array:
    encoder, bias, decoder = weights
    soft = jax.nn.softplus(x @ encoder.T + bias[None, :])
    return ghost_term(jnp.where(dead[None, :], soft, 0.0) @ decoder, residual, error, dead)


def add_ghost(
    gradients: GhostWeights,
    weights: GhostWeights,
    rows: tuple[jax.Array, ...],
    dead: jax.Array,
    factor: float,
) -> tuple[GhostWeights, jax.Array]:
    """The ghost loss times `factor`, and the gradients of `weights` with its own added; `rows` are x, the
    residual and R.

    A loop of one turn, or none where nothing is dead: a condition would copy the gradients, and autodiff
    through it would keep the arrays of the branch that was not taken.
    """

    def add(turn: jax.Array, carried: tuple[GhostWeights, jax.Array]) -> tuple[GhostWeights, jax.Array]:
        # tied to the turn, or XLA would find the work the same every turn and do it once before the loop
        here, data, _ = barrier((weights, rows, turn))
        value, found = jax.value_and_grad(_ghost)(here, *data, dead)
        return jax.tree.map(lambda g, own: g + factor * own, carried[0], found), factor * value

    barrier: Callable[[Any], Any] = jax.lax.optimization_barrier
    start = (gradients, jnp.zeros((), rows[0].dtype))
    turns = (dead.any() & (factor > 0)).astype(jnp.int32)
    result: tuple[GhostWeights, jax.Array] = jax.lax.fori_loop(0, turns, add, start)
    return result


def _count_and_price(positive: jax.Array, penalty: jax.Array) -> tuple[jax.Array, jax.Array]:
    """On how many rows a feature fired, int32, and the sum of its penalties; from (n_features, batch)."""
    # one reduction of two, which XLA keeps in one pass over memory
    arrays, zeros = ((positive > 0).astype(jnp.int32), penalty), (jnp.int32(0), jnp.zeros((), penalty.dtype))
    sums: tuple[jax.Array, jax.Array] = jax.lax.reduce(
        arrays, zeros, lambda a, b: tuple(map(jnp.add, a, b)), (1,)
    )
    return sums


def loss_and_gradients(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: ReluSettings
) -> tuple[jax.Array, Terms, Parameters]:
    """L, its terms, and dL/dparameters, by hand for fewer passes over memory: s stands at the decoder's rows
    instead of the codes, and its gradient follows from that of those rows; codes lie with a row a feature,
    along which sums run over neighbours."""
    scale, decoder = parameters["scale"][:, None], parameters["decoder"]
    scaled, bias = scale * decoder, parameters["encoder_bias"]
    positive = jax.nn.relu(parameters["encoder"] @ x.T + bias[:, None])  # (n_features, batch)
    output = decode_columns(scaled, positive) + parameters["decoder_bias"][None, :]
    error, at_error = jax.vjp(lambda output: reconstruction_error(output, target), output)
    penalty, at_penalty = jax.vjp(
        lambda p: sparsity_penalty(p, settings.sparsity, settings.epsilon), positive
    )
    (slope,) = at_error(jnp.full_like(error, 1 / error.size))
    (push,) = at_penalty(jnp.full_like(penalty, settings.coefficient / len(x)))
    at_positive = jnp.where(positive > 0, scaled @ slope.T + push, 0.0)
    without_ghost = GhostWeights(at_positive @ x, at_positive.sum(1), positive @ slope)
    found, revival = add_ghost(
        without_ghost, GhostWeights(parameters["encoder"], bias, scaled), (x, target - output, error), dead,
        settings.ghost,
    )  # fmt: skip
    gradients = {
        "encoder": found.encoder,
        "encoder_bias": found.bias,
        "decoder": scale * found.decoder,
        "decoder_bias": slope.sum(0),
        "scale": (decoder * found.decoder).sum(1),
    }
    active, price = _count_and_price(positive, penalty)
    reconstruction, sparsity = error.mean(), settings.coefficient * price.sum() / len(x)
    terms = Terms(
        reconstruction, sparsity, revival, active.astype(jnp.float32).sum() / len(x),
        jnp.sum(jnp.square(output - target)), active, {},
    )  # fmt: skip
    return reconstruction + sparsity + revival, terms, gradients


loss = with_own_gradient(loss_and_gradients)
"""L and its terms for normalised activations x (batch, d) and dead features (n_features,) bool."""
