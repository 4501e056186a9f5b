"""Matryoshka dictionary: BatchTopK whose first features must reconstruct without the rest.

    L = mean over prefixes p of Σ‖x̂_p − x‖² / V + AuxK        x̂_p from the features below p only

Wide concepts settle in the small prefixes instead of being split among later features. All codes are chosen
once, over all features. The loss is that of `trainer.architectures.sparse`; codes and file are BatchTopK's.
Source: Bussmann, Nabeshima, Karvonen, Nanda 2025, Learning multi-level features with matryoshka sparse
autoencoders.
"""

import jax
import jax.numpy as jnp

from trainer.architectures.codes import preactivations
from trainer.architectures.jumprelu import above
from trainer.architectures.sparse import Rule, sparse_loss
from trainer.architectures.terms import Terms
from trainer.architectures.topk import tied_start
from trainer.kinds import MatryoshkaSettings
from trainer.parameters import Parameters


def initialise(
    key: jax.Array, sample: jax.Array, target: jax.Array, settings: MatryoshkaSettings
) -> Parameters:
    """`tied_start` and a threshold () of 0."""
    return {**tied_start(key, target, settings.features), "threshold": jnp.float32(0)}


def encode(parameters: Parameters, x: jax.Array, settings: MatryoshkaSettings) -> jax.Array:
    """Codes (batch, n_features) above the threshold, each row by itself."""
    return above(preactivations(parameters, x, centred=True), parameters["threshold"])


def loss(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: MatryoshkaSettings
) -> tuple[jax.Array, Terms]:
    """L and its terms for normalised activations x (batch, d) and dead features (n_features,) bool."""
    rule = Rule(settings.k, shared=True, auxiliary=settings.auxiliary, prefixes=settings.prefixes)
    return sparse_loss(parameters, x, target, dead, rule)
