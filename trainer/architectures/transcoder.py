"""Transcoder: from what an MLP reads to what it writes, in k features a token; BatchTopK codes.

    π = x Wᵉᵀ + bᵉ        h as in `trainer.architectures.batchtopk`        ŷ = h Wᵈ + bᵈ [+ x Wˢᵀ]

The decoder bias belongs to the output and is not taken off the input. Input and output have scales of their
own. With `skip` a linear map Wˢ, zero at the start, takes over what needs no features. The loss is that of
`trainer.architectures.sparse` with the MLP's output as target. Sources: Dunefsky, Chlenski, Nanda 2024,
Transcoders find interpretable LLM feature circuits; Paulo, Shabalin, Belrose 2025, Transcoders beat sparse
autoencoders for interpretability (skip).
"""

import jax
import jax.numpy as jnp

from trainer.architectures.codes import preactivations
from trainer.architectures.jumprelu import above
from trainer.architectures.sparse import Rule, sparse_loss
from trainer.architectures.terms import Terms
from trainer.kinds import TranscoderSettings
from trainer.parameters import Parameters, random_unit_rows


def initialise(
    key: jax.Array, sample: jax.Array, target: jax.Array, settings: TranscoderSettings
) -> Parameters:
    """Independent random unit rows in encoder and decoder, the decoder bias the mean of `target`
    (n, d_out)."""
    encoder_key, decoder_key = jax.random.split(key)
    parameters = {
        "encoder": random_unit_rows(encoder_key, settings.features, sample.shape[1]),
        "encoder_bias": jnp.zeros(settings.features, jnp.float32),
        "decoder": random_unit_rows(decoder_key, settings.features, target.shape[1]),
        "decoder_bias": target.mean(0),
        "threshold": jnp.float32(0),
    }
    if settings.skip:
        parameters["skip"] = jnp.zeros((target.shape[1], sample.shape[1]), jnp.float32)
    return parameters


def encode(parameters: Parameters, x: jax.Array, settings: TranscoderSettings) -> jax.Array:
    """Codes (batch, n_features) above the threshold, each row by itself."""
    return above(preactivations(parameters, x, centred=False), parameters["threshold"])


def loss(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: TranscoderSettings
) -> tuple[jax.Array, Terms]:
    """L and its terms for normalised inputs x (batch, d_in) and outputs `target` (batch, d_out)."""
    rule = Rule(settings.k, shared=True, auxiliary=settings.auxiliary, centred=False)
    return sparse_loss(parameters, x, target, dead, rule)
