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

import jax
import jax.numpy as jnp

from trainer.architectures.terms import Terms
from trainer.kinds import ReluSettings
from trainer.parameters import Parameters, decode, orthogonal_encoder, unit_rows


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


def _ghost(
    weights: Parameters, x: jax.Array, residual: jax.Array, error: jax.Array, dead: jax.Array
) -> jax.Array:
    soft = jax.nn.softplus(x @ weights["encoder"].T + weights["bias"][None, :])
    if "scale" in weights:
        soft = soft * weights["scale"][None, :]
    ghost = jnp.where(dead[None, :], soft, 0.0) @ weights["decoder"]
    return ghost_term(ghost, residual, error, dead)


@jax.custom_vjp
def ghost_loss(
    weights: Parameters, x: jax.Array, residual: jax.Array, error: jax.Array, dead: jax.Array
) -> jax.Array:
    """`ghost_term` of the features' own weights (encoder, bias, decoder and perhaps scale); 0 where none is
    dead.

    Value and gradient are found together, inside the condition: autodiff through it would keep the arrays of
    the branch that was not taken, which is a fifth of a step.
    """
    nothing = jnp.zeros((), x.dtype)
    found: jax.Array = jax.lax.cond(
        dead.any(), lambda: _ghost(weights, x, residual, error, dead), lambda: nothing
    )
    return found


def _ghost_forward(
    weights: Parameters, x: jax.Array, residual: jax.Array, error: jax.Array, dead: jax.Array
) -> tuple[jax.Array, Parameters]:
    found: tuple[jax.Array, Parameters] = jax.lax.cond(
        dead.any(),
        lambda: jax.value_and_grad(_ghost)(weights, x, residual, error, dead),
        lambda: (jnp.zeros((), x.dtype), jax.tree.map(jnp.zeros_like, weights)),
    )
    return found


def _ghost_backward(gradients: Parameters, slope: jax.Array) -> tuple[Parameters, None, None, None, None]:
    return jax.tree.map(lambda g: g * slope, gradients), None, None, None, None


ghost_loss.defvjp(_ghost_forward, _ghost_backward)


def loss(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: ReluSettings
) -> tuple[jax.Array, Terms]:
    """L and its terms for normalised activations x (batch, d) and dead features (n_features,) bool."""
    pre = preactivations(parameters, x)
    positive = jax.nn.relu(pre)
    output = decode(parameters, positive * parameters["scale"][None, :], x)
    error = reconstruction_error(output, target)
    penalty = sparsity_penalty(positive, settings.sparsity, settings.epsilon).sum(1).mean()
    weights = {name: parameters[name] for name in ("encoder", "decoder", "scale")}
    weights["bias"] = parameters["encoder_bias"]
    revival = settings.ghost * ghost_loss(weights, x, target - output, error, dead)
    reconstruction, sparsity = error.mean(), settings.coefficient * penalty
    active = positive > 0
    terms = Terms(
        reconstruction, sparsity, revival, active.astype(jnp.float32).sum(1).mean(),
        jnp.sum(jnp.square(output - target)), active.any(0), {},
    )  # fmt: skip
    return reconstruction + sparsity + revival, terms
