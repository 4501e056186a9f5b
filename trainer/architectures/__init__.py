"""The kinds of dictionary, one file each, each of three pure functions on a plain pytree of arrays.

    initialise(key, sample, target, settings) -> parameters   the first normalised activations (n, d), twice
    encode(parameters, x, settings) -> codes                  dense (batch, n_features)
    loss(parameters, x, target, dead, settings) -> (scalar, Terms)    dead: (n_features,) bool

`target` is what is reconstructed: x itself, but for a transcoder. x and target are data: they are normalised
(`trainer.normalization`) and no gradient flows to them; the loss is differentiable in the parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from trainer.architectures import batchtopk, gated, jumprelu, matryoshka, relu, topk, transcoder
from trainer.architectures.terms import Terms
from trainer.kinds import DictionarySettings
from trainer.parameters import Parameters

__all__ = ["ARCHITECTURES", "Architecture", "Terms"]


@dataclass(frozen=True)
class Architecture:
    """One kind of dictionary: its three functions and what its file on disk says."""

    initialise: Callable[[jax.Array, jax.Array, jax.Array, Any], Parameters]
    encode: Callable[[Parameters, jax.Array, Any], jax.Array]
    loss: Callable[[Parameters, jax.Array, jax.Array, jax.Array, Any], tuple[jax.Array, Terms]]
    saelens_name: str
    subtracts_decoder_bias: bool

    def codes(self, parameters: Parameters, x: jax.Array, settings: DictionarySettings) -> jax.Array:
        """`encode` under jit, the settings static."""
        encoded: jax.Array = jax.jit(self.encode, static_argnums=2)(parameters, x, settings)
        return encoded


def _architecture(module: Any, saelens_name: str, subtracts_decoder_bias: bool) -> Architecture:
    return Architecture(module.initialise, module.encode, module.loss, saelens_name, subtracts_decoder_bias)


ARCHITECTURES: dict[str, Architecture] = {
    "relu": _architecture(relu, "standard", False),
    "gated": _architecture(gated, "gated", False),
    "jumprelu": _architecture(jumprelu, "jumprelu", False),
    "topk": _architecture(topk, "topk", True),
    "batchtopk": _architecture(batchtopk, "jumprelu", True),
    "matryoshka": _architecture(matryoshka, "jumprelu", True),
    "transcoder": _architecture(transcoder, "jumprelu_transcoder", False),
}
