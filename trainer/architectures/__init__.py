"""The kinds of dictionary, one file each, each of three pure functions on a plain pytree of arrays.

    initialise(key, sample, settings) -> parameters           sample: the first normalised activations (n, d)
    encode(parameters, x, settings) -> codes                  dense (batch, n_features)
    loss(parameters, x, dead, settings) -> (scalar, Terms)    dead: (n_features,) bool

`x` is data: it is normalised (`trainer.normalization`) and no gradient flows to it; the
loss is differentiable in the parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from trainer.architectures import relu, topk
from trainer.architectures.terms import Terms
from trainer.config import DictionarySettings
from trainer.parameters import Parameters

__all__ = ["ARCHITECTURES", "Architecture", "Terms"]


@dataclass(frozen=True)
class Architecture:
    """One kind of dictionary: its three functions and what its file on disk says."""

    initialise: Callable[[jax.Array, jax.Array, Any], Parameters]
    encode: Callable[[Parameters, jax.Array, Any], jax.Array]
    loss: Callable[[Parameters, jax.Array, jax.Array, Any], tuple[jax.Array, Terms]]
    saelens_name: str
    subtracts_decoder_bias: bool

    def codes(self, parameters: Parameters, x: jax.Array, settings: DictionarySettings) -> jax.Array:
        """`encode` under jit, the settings static."""
        encoded: jax.Array = jax.jit(self.encode, static_argnums=2)(parameters, x, settings)
        return encoded


ARCHITECTURES: dict[str, Architecture] = {
    "relu": Architecture(relu.initialise, relu.encode, relu.loss, "standard", False),
    "topk": Architecture(topk.initialise, topk.encode, topk.loss, "topk", True),
}
