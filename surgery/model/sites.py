"""Which modules of a transformers model are the residual stream's sites.

A block's input and output are the block's own; what attention and the MLP add to the stream leaves a module
that differs by family: the sublayer itself, its last matrix, or the norm behind it where a family normalises
what it adds. Where a family multiplies that by a scalar of its config before it adds it (Granite), the site
is before the scalar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surgery.errors import AnatomyError


@dataclass(frozen=True)
class Sites:
    """Names, inside a block, of the modules whose outputs are attn_out and mlp_out.

    `a|b` is whichever of the two the block has. `blocks` is the path of the list of blocks from the model,
    None where it is `layers` of the decoder.
    """

    attn_out: str
    mlp_out: str
    blocks: str | None = None


_PRE_NORM = Sites("self_attn", "mlp")
_POST_NORM = Sites("post_attention_layernorm", "post_feedforward_layernorm")

SITES: dict[str, Sites] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma"), _PRE_NORM),
    **dict.fromkeys(("gemma2", "gemma3", "gemma3_text"), _POST_NORM),
    **dict.fromkeys(("apertus", "arcee", "bitnet", "cohere", "cohere2", "cwm", "diffllama"), _PRE_NORM),
    **dict.fromkeys(("ernie4_5", "glm", "granite", "granite_swa", "helium"), _PRE_NORM),
    **dict.fromkeys(("hunyuan_v1_dense", "internlm3", "iquestcoder", "jais2", "minicpm3"), _PRE_NORM),
    **dict.fromkeys(("ministral", "ministral3", "nanochat", "nemotron", "olmo", "seed_oss"), _PRE_NORM),
    **dict.fromkeys(("smollm3", "stablelm", "starcoder2", "vaultgemma", "youtu"), _PRE_NORM),
    **dict.fromkeys(("olmo2", "olmo3", "exaone4"), _POST_NORM),
    "glm4": Sites("post_self_attn_layernorm", "post_mlp_layernorm"),
    **dict.fromkeys(
        ("gpt2", "gpt-sw3", "gpt_bigcode", "gptj", "codegen", "gpt_neo"),
        Sites("attn", "mlp", "transformer.h"),
    ),
    "gpt_neox": Sites("attention", "mlp", "gpt_neox.layers"),
    "opt": Sites("self_attn", "fc2", "model.decoder.layers"),
    "biogpt": Sites("self_attn", "fc2", "biogpt.layers"),
    **dict.fromkeys(("phi", "persimmon"), _PRE_NORM),
    "falcon": Sites("self_attention", "mlp", "transformer.h"),
    "mpt": Sites("attn", "ffn.down_proj", "transformer.blocks"),
}
"""model_type → its sites."""


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
    if model_type not in SITES:
        raise AnatomyError(
            f"model type {model_type!r}: its residual stream's sites are not known; known are"
            f" {', '.join(sorted(SITES))}"
        )
    sites = SITES[model_type]
    blocks = network.get_decoder().layers if sites.blocks is None else network.get_submodule(sites.blocks)
    return tuple(Block(block, _part(block, sites.attn_out), _part(block, sites.mlp_out)) for block in blocks)


def _part(block: Any, names: str) -> Any:
    first, *others = names.split("|")
    try:
        return block.get_submodule(first)
    except AttributeError:
        if not others:
            raise
    return _part(block, "|".join(others))
