"""Which modules of a transformers model are the residual stream's sites.

A block's input and output are the block's own; what attention and the MLP add to the stream leaves a module
that
differs by family: the sublayer itself, or the norm behind it where a family normalises what it adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surgery.errors import AnatomyError

_PRE_NORM = ("self_attn", "mlp")
_POST_NORM = ("post_attention_layernorm", "post_feedforward_layernorm")

SUBLAYERS: dict[str, tuple[str, str]] = {
    "llama": _PRE_NORM,
    "mistral": _PRE_NORM,
    "qwen2": _PRE_NORM,
    "qwen3": _PRE_NORM,
    "phi3": _PRE_NORM,
    "gemma": _PRE_NORM,
    "gemma2": _POST_NORM,
    "gemma3": _POST_NORM,
    "gemma3_text": _POST_NORM,
}
"""model_type → names, inside a block, of the modules whose outputs are attn_out and mlp_out."""


@dataclass(frozen=True)
class Block:
    """One layer's modules: the block, and those whose outputs it adds to the stream."""

    module: Any
    attn_out: Any
    mlp_out: Any


def find_blocks(network: Any) -> tuple[Block, ...]:
    """The blocks of a causal language model, first to last.

    Raises:
        AnatomyError: the model type is not in the table.
    """
    model_type = network.config.model_type
    if model_type not in SUBLAYERS:
        raise AnatomyError(
            f"model type {model_type!r}: its residual stream's sites are not known; known are"
            f" {', '.join(sorted(SUBLAYERS))}"
        )
    attention, mlp = SUBLAYERS[model_type]
    return tuple(
        Block(layer, layer.get_submodule(attention), layer.get_submodule(mlp))
        for layer in network.get_decoder().layers
    )
