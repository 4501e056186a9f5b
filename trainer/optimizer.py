"""Adam, by default without its first moment, and its learning rate.

    ν ← β₂ ν + (1 − β₂) g²        ν̂ = ν / (1 − β₂ᵗ)        u = −η_t · m̂ / (√ν̂ + ε)
    m̂ = g, or with momentum:      μ ← β₁ μ + (1 − β₁) g      m̂ = μ / (1 − β₁ᵗ)

Without momentum it equals Adam with β₁ = 0 at half the state, and `optax.scale_by_rms(decay=β₂, eps=ε,
eps_in_sqrt=False, bias_correction=True)` before the −η_t. The seed found β₁ = 0 decisive against dead
features: momentum keeps pushing a feature after its last token.

    η_t = η · min(t / warm-up, 1, (steps − t + 1) / (0.2 · steps))    t = 1 … steps
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from trainer.parameters import Parameters

DECAY_SHARE = 0.2


class Moments(NamedTuple):
    """State of the optimiser."""

    updates: jax.Array  # () int32, how many were done
    second: Parameters  # like the parameters, running mean of squared gradients
    first: Parameters  # like the parameters, running mean of gradients; empty without momentum


def initial_moments(parameters: Parameters, momentum: float = 0.0) -> Moments:
    """No update done, all moments zero; no first ones without momentum."""
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    first = jax.tree.map(jnp.zeros_like, parameters) if momentum else {}
    return Moments(jnp.zeros((), jnp.int32), zeros, first)


def scale_by_moments(
    gradients: Parameters, moments: Moments, decay: float = 0.99, momentum: float = 0.0, epsilon: float = 1e-8
) -> tuple[Parameters, Moments]:
    """m̂ / (√ν̂ + ε) for every array, and the new state; `decay` is β₂, `momentum` β₁. The sign is the
    gradient's: the caller descends."""
    count = moments.updates + 1
    second = jax.tree.map(lambda v, g: decay * v + (1 - decay) * g * g, moments.second, gradients)
    correction, first, mean = _correction(decay, count), moments.first, gradients
    if momentum:
        first = jax.tree.map(lambda m, g: momentum * m + (1 - momentum) * g, moments.first, gradients)
        mean = jax.tree.map(lambda m: m / _correction(momentum, count), first)
    scaled = jax.tree.map(lambda v, m: m / (jnp.sqrt(v / correction) + epsilon), second, mean)
    return scaled, Moments(count, second, first)


def _correction(decay: float, count: jax.Array) -> jax.Array:
    """1 − decayᵗ, by which a running mean that began at 0 falls short."""
    return 1 - jnp.power(jnp.float32(decay), count.astype(jnp.float32))


def clip_by_global_norm(gradients: Parameters, limit: float) -> Parameters:
    """All gradients times min(1, limit / their joint norm)."""
    norm = jnp.sqrt(sum((jnp.sum(g * g) for g in gradients.values()), start=jnp.float32(0)))
    factor = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-30))
    return {name: gradient * factor for name, gradient in gradients.items()}


def learning_rate(count: jax.Array, peak: float, warmup: int, steps: int) -> jax.Array:
    """η_t for update number `count` = 1 … steps, a float32 scalar."""
    t = count.astype(jnp.float32)
    rise = t / max(warmup, 1)
    fall = (steps + 1 - t) / max(DECAY_SHARE * steps, 1.0)
    share: jax.Array = jnp.clip(jnp.minimum(rise, fall), 0.0, 1.0)
    return peak * share
