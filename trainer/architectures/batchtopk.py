"""BatchTopK dictionary: a batch keeps its k·batch largest codes, hard tokens more of them than easy ones.

    π = (x − bᵈ) Wᵉᵀ + bᵉ        h = relu(π) where among the k·batch largest of the batch, else 0
    θ ← 0.99 θ + 0.01 · smallest code kept        outside training h = relu(π) where π > θ, else 0

One row keeps at most 4k codes. A single token has no batch, so the saved dictionary is a JumpReLU one with
the threshold θ, which is measured and never learnt. The loss is that of `trainer.architectures.sparse`.
Source: Bussmann, Leask, Nanda 2024, BatchTopK sparse autoencoders.
"""

import jax
import jax.numpy as jnp

from trainer.architectures.codes import preactivations
from trainer.architectures.jumprelu import above
from trainer.architectures.sparse import Rule, sparse_loss
from trainer.architectures.terms import Terms
from trainer.architectures.topk import tied_start
from trainer.kinds import BatchtopkSettings, MatryoshkaSettings
from trainer.parameters import Parameters

Either = BatchtopkSettings | MatryoshkaSettings


def initialise(key: jax.Array, sample: jax.Array, target: jax.Array, settings: Either) -> Parameters:
    """`tied_start` and a threshold () of 0."""
    return {**tied_start(key, target, settings.features), "threshold": jnp.float32(0)}


def encode(parameters: Parameters, x: jax.Array, settings: Either) -> jax.Array:
    """Codes (batch, n_features) above the threshold, each row by itself."""
    return above(preactivations(parameters, x, centred=True), parameters["threshold"])


def loss(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: BatchtopkSettings
) -> tuple[jax.Array, Terms]:
    """L and its terms for normalised activations x (batch, d) and dead features (n_features,) bool."""
    rule = Rule(settings.k, shared=True, auxiliary=settings.auxiliary)
    return sparse_loss(parameters, x, target, dead, rule)
