"""Matryoshka dictionary: BatchTopK whose first features must reconstruct without the rest.

    L = mean over prefixes p of Σ‖x̂_p − x‖² / V + AuxK        x̂_p from the features below p only

Wide concepts settle in the small prefixes instead of being split among later features. All codes are chosen
once, over all features. The loss is that of `trainer.architectures.sparse`; start, codes and file are
BatchTopK's. Source: Bussmann, Nabeshima, Karvonen, Nanda 2025, Learning multi-level features with matryoshka
sparse autoencoders.
"""

import jax

from trainer.architectures.batchtopk import encode, initialise
from trainer.architectures.sparse import Rule, sparse_loss
from trainer.architectures.terms import Terms
from trainer.kinds import MatryoshkaSettings
from trainer.parameters import Parameters

__all__ = ["encode", "initialise", "loss"]


def loss(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: MatryoshkaSettings
) -> tuple[jax.Array, Terms]:
    """L and its terms for normalised activations x (batch, d) and dead features (n_features,) bool."""
    rule = Rule(settings.k, shared=True, auxiliary=settings.auxiliary, prefixes=settings.prefixes)
    return sparse_loss(parameters, x, target, dead, rule)
