"""TopK dictionary: each row keeps its k largest pre-activations.

    π = (x − bᵈ) Wᵉᵀ + bᵉ        h = relu of the k largest of π, else 0        x̂ = h Wᵈ + bᵈ

The loss is that of `trainer.architectures.sparse`, with AuxK. Source: Gao et al. 2024, Scaling and evaluating
sparse autoencoders. `recall` lets training take `approx_max_k`; codes are exact in any case.
"""

import jax
import jax.numpy as jnp

from trainer.architectures.codes import dense, preactivations, strongest
from trainer.architectures.sparse import Rule, sparse_loss
from trainer.architectures.terms import Terms
from trainer.kinds import TopkSettings
from trainer.parameters import Parameters, random_unit_rows


def tied_start(key: jax.Array, target: jax.Array, n_features: int) -> Parameters:
    """Random unit decoder rows, the encoder a copy of them, the decoder bias the mean of `target` (n, d)."""
    decoder = random_unit_rows(key, n_features, target.shape[1])
    return {
        "encoder": decoder + 0.0,
        "encoder_bias": jnp.zeros(n_features, jnp.float32),
        "decoder": decoder,
        "decoder_bias": target.mean(0),
    }


def initialise(key: jax.Array, sample: jax.Array, target: jax.Array, settings: TopkSettings) -> Parameters:
    """`tied_start`."""
    return tied_start(key, target, settings.features)


def encode(parameters: Parameters, x: jax.Array, settings: TopkSettings) -> jax.Array:
    """Dense codes (batch, n_features) with at most k non-zeros a row."""
    return dense(strongest(preactivations(parameters, x, centred=True), settings.k), settings.features)


def loss(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: TopkSettings
) -> tuple[jax.Array, Terms]:
    """L and its terms for normalised activations x (batch, d) and dead features (n_features,) bool."""
    rule = Rule(settings.k, recall=settings.recall, auxiliary=settings.auxiliary)
    return sparse_loss(parameters, x, target, dead, rule)
