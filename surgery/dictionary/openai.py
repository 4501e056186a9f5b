"""OpenAI's sparse_autoencoder: one pickle, a state dict with the activation's name in it.

    encoder.weight (m, d)   latent_bias (m)   decoder.weight (d, m)   pre_bias (d)
    f = relu, or the k largest, of (N(x) − pre_bias) W_encᵀ + latent_bias   output = N⁻¹(f W_decᵀ + pre_bias)

N is layer norm where the activation is TopK, and nothing where it is ReLU.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from surgery.dictionary.config import table, whole_number
from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, missing_fact
from surgery.dictionary.weights import WeightsFile, open_weights
from surgery.errors import DictionaryError

MARK = "latent_bias"


def read_openai(file: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read one autoencoder.

    Raises:
        DictionaryError: nobody allowed the pickle, a tensor is missing, or the activation is another.
    """
    weights = open_weights(file, name, trust_pickle=facts.trust_pickle)
    weights.require(["encoder.weight", "decoder.weight", "latent_bias", "pre_bias"])
    activation = str(weights.plain.get("activation", "ReLU"))
    if activation not in ("ReLU", "TopK"):
        raise DictionaryError(f"{name}: activation {activation!r}; known: ReLU, TopK")
    is_topk = activation == "TopK"
    return checked(
        Dictionary(
            name=name,
            architecture="topk" if is_topk else "standard",
            W_enc=weights.array("encoder.weight"),
            b_enc=weights.array("latent_bias"),
            W_dec=np.ascontiguousarray(weights.array("decoder.weight").T),
            b_dec=weights.array("pre_bias"),
            k=_k(weights, name, facts) if is_topk else None,
            subtract_b_dec=True,
            normalization="layer_norm" if is_topk else "none",
            file=file,
        )
    )


def _k(weights: WeightsFile, name: str, facts: Facts) -> int:
    stored = table(weights.plain.get("activation_state_dict")).get("k")
    k = facts.k or whole_number(getattr(stored, "item", lambda: stored)())
    if k is None:
        raise missing_fact(name, "a TopK dictionary whose activation_state_dict does not say k", "k", "32")
    return k
