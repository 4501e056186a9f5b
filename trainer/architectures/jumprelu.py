"""JumpReLU dictionary: a code below its feature's own threshold is 0, and the threshold is learnt.

    π = x Wᵉᵀ + bᵉ        h = π where π > θ, else 0        θ = exp(log θ)        x̂ = h Wᵈ + bᵈ
    L = mean_rows ‖x̂ − x‖² + c · S + γ · mean_rows Σ_dead relu(θ − π)

    S = mean_rows Σ_j [π_j > θ_j]                      step
    S = mean_rows Σ_j tanh(4 h_j)                      tanh
    S = (mean_rows Σ_j [π_j > θ_j] / L0* − 1)²         target_l0

Both jumps are flat in θ, so θ gets straight-through gradients from the window K(u) = [|u| < ½] of width ε:

    ∂h/∂θ = −(θ/ε) K((π − θ)/ε)        ∂[π > θ]/∂θ = −(1/ε) K((π − θ)/ε)        ∂h/∂π = [π > θ]

The last term of L lifts features that no longer fire until they do. Sources: Rajamanoharan et al. 2024,
Jumping ahead (step); Anthropic, January 2025 update (tanh, pre-activation loss), decoder norms being 1 here;
the target of L0 as in Gemma Scope 2 and dictionary_learning.
"""

from functools import partial

import jax
import jax.numpy as jnp

from trainer.architectures.terms import Terms
from trainer.architectures.topk import tied_start
from trainer.kinds import JumpreluSettings
from trainer.parameters import Parameters, decode_columns


def above(pre: jax.Array, threshold: jax.Array) -> jax.Array:
    """π (batch, n_features) where it exceeds the threshold, () or (n_features,), and 0; else 0."""
    bound = jnp.maximum(jnp.broadcast_to(threshold, pre.shape[1:]), 0.0)
    return jnp.where(pre > bound[None, :], pre, 0.0)


# in training a row is a feature, along which its sums run over neighbours


def _window(pre: jax.Array, threshold: jax.Array, bandwidth: float) -> jax.Array:
    return (jnp.abs(pre - threshold[:, None]) < bandwidth / 2).astype(pre.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def jump(pre: jax.Array, threshold: jax.Array, bandwidth: float) -> jax.Array:
    """h (n_features, batch) of π and θ (n_features,)."""
    return jnp.where(pre > threshold[:, None], pre, 0.0)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def step(pre: jax.Array, threshold: jax.Array, bandwidth: float) -> jax.Array:
    """[π > θ] (n_features, batch) as 0.0 and 1.0; no gradient reaches π."""
    return (pre > threshold[:, None]).astype(pre.dtype)


Pair = tuple[jax.Array, jax.Array]


def _jump_backward(bandwidth: float, inputs: Pair, slope: jax.Array) -> Pair:
    pre, threshold = inputs
    near = _window(pre, threshold, bandwidth) * slope
    return jnp.where(pre > threshold[:, None], slope, 0.0), -threshold / bandwidth * near.sum(1)


def _step_backward(bandwidth: float, inputs: Pair, slope: jax.Array) -> Pair:
    pre, threshold = inputs
    return jnp.zeros_like(pre), -(_window(pre, threshold, bandwidth) * slope).sum(1) / bandwidth


jump.defvjp(lambda pre, threshold, width: (jump(pre, threshold, width), (pre, threshold)), _jump_backward)
step.defvjp(lambda pre, threshold, width: (step(pre, threshold, width), (pre, threshold)), _step_backward)


def initialise(
    key: jax.Array, sample: jax.Array, target: jax.Array, settings: JumpreluSettings
) -> Parameters:
    """`tied_start` and the same threshold for all, as its logarithm (n_features,)."""
    start = jnp.full(settings.features, jnp.log(jnp.float32(settings.threshold)))
    return {**tied_start(key, target, settings.features), "log_threshold": start}


def encode(parameters: Parameters, x: jax.Array, settings: JumpreluSettings) -> jax.Array:
    """h (batch, n_features). A folded dictionary holds `threshold` instead of its logarithm."""
    pre = x @ parameters["encoder"].T + parameters["encoder_bias"][None, :]
    folded = "threshold" in parameters
    return above(pre, parameters["threshold"] if folded else jnp.exp(parameters["log_threshold"]))


def _sparsity(
    codes: jax.Array, pre: jax.Array, threshold: jax.Array, settings: JumpreluSettings
) -> jax.Array:
    rows = codes.shape[1]
    if settings.sparsity == "tanh":
        return jnp.tanh(4 * codes).sum(1).sum() / rows
    count: jax.Array = step(pre, threshold, settings.bandwidth).sum(1).sum() / rows
    return count if settings.target_l0 is None else jnp.square(count / settings.target_l0 - 1)


def loss(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: JumpreluSettings
) -> tuple[jax.Array, Terms]:
    """L and its terms for normalised activations x (batch, d) and dead features (n_features,) bool."""
    rows = len(x)
    pre = parameters["encoder"] @ x.T + parameters["encoder_bias"][:, None]
    threshold = jnp.exp(parameters["log_threshold"])
    codes = jump(pre, threshold, settings.bandwidth)
    output = decode_columns(parameters["decoder"], codes) + parameters["decoder_bias"][None, :]
    squared = jnp.sum(jnp.square(output - target))
    sparsity = settings.coefficient * _sparsity(codes, pre, threshold, settings)
    lack = jnp.where(dead[:, None], jax.nn.relu(threshold[:, None] - pre), 0.0)
    revival = settings.preactivation * lack.sum(1).sum() / rows
    reconstruction, active = squared / rows, (codes > 0).sum(1, dtype=jnp.int32)
    l0 = active.astype(jnp.float32).sum() / rows
    terms = Terms(reconstruction, sparsity, revival, l0, squared, active, {})
    return reconstruction + sparsity + revival, terms
