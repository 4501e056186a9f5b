"""Which modules of a transformers model are the residual stream's sites.

A block's input and output are the block's own; what attention and the MLP add to the stream leaves a module
that differs by family: the sublayer itself, its last matrix, or the norm behind it where a family normalises
what it adds. Where a family multiplies that by a scalar of its config before it adds it (Granite), the site
is before the scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from surgery.errors import AnatomyError
from surgery.model.families import FAMILIES


@dataclass(frozen=True)
class Sites:
    """Names, inside a block, of the modules whose outputs are attn_out and mlp_out.

    `a|b` is whichever of the two the block has, `a+b` both where the block adds both, an empty name nothing:
    a block with one sublayer has that at attn_out. `blocks` is the path of the list of blocks from the model
    (`a+b` where there are two), None where it is `layers` of the decoder. `copies` are modules of a block,
    where it has them, that read a copy of the stream to which something else was added.
    """

    attn_out: str
    mlp_out: str
    blocks: str | None = None
    copies: tuple[str, ...] = ()


_USUAL = Sites("self_attn", "mlp")
_OTHERS = {
    "gemma2 gemma3_text olmo2 olmo3 exaone4 flex_olmo beam gemma3n_text muse_glimmer_text": Sites(
        "post_attention_layernorm", "post_feedforward_layernorm"
    ),
    "glm4 kolibri1 glm4v_text glm_ocr_text": Sites("post_self_attn_layernorm", "post_mlp_layernorm"),
    "gpt2 gpt-sw3 gpt_bigcode gptj codegen gpt_neo": Sites("attn+crossattention", "mlp", "transformer.h"),
    "gpt_neox": Sites("attention", "mlp", "gpt_neox.layers"),
    "opt": Sites("self_attn", "fc2", "model.decoder.layers"),
    "biogpt": Sites("self_attn", "fc2", "biogpt.layers"),
    "falcon": Sites("self_attention", "mlp", "transformer.h"),
    "mpt": Sites("attn", "ffn.down_proj", "transformer.blocks"),
    "hyperclovax": Sites("post_norm1|self_attn", "post_norm2|mlp"),
    "axk1": Sites("self_attn", "post_mlp_layernorm|mlp"),
    "afmoe": Sites("post_attention_layernorm", "post_mlp_layernorm"),
    "llama4_text": Sites("self_attn", "feed_forward", "model.layers"),
    "granitemoe": Sites("self_attn", "block_sparse_moe"),
    "granitemoeshared granitemoe_swa": Sites("self_attn", "block_sparse_moe+shared_mlp"),
    "falcon_h1": Sites("self_attn+mamba", "feed_forward"),
    "jetmoe": Sites("self_attention", "mlp"),
    "granitemoehybrid": Sites("self_attn|mamba", "block_sparse_moe+shared_mlp"),
    "lfm2_moe lfm2": Sites("self_attn|conv", "feed_forward"),
    "lfm3": Sites("post_operator_norm", "post_ffn_norm"),
    "recurrent_gemma": Sites("temporal_block", "mlp_block"),
    "qwen3_next qwen3_5_text qwen3_5_moe_text qwen4_exp_text": Sites("self_attn|linear_attn", "mlp"),
    "jamba bamba": Sites("self_attn|mamba", "feed_forward"),
    "bloom": Sites("self_attention.dense", "mlp.dense_4h_to_h", "transformer.h"),
    "modernbert-decoder": Sites("attn", "mlp", "model.layers"),
    "roberta-prelayernorm": Sites(
        "attention.output.dense", "output.dense", "roberta_prelayernorm.encoder.layer"
    ),
    "xlm-roberta-xl": Sites("attention.output.dense", "output.dense", "roberta.encoder.layer"),
    "megatron-bert": Sites("attention.output.dense", "output.dense", "bert.encoder.layer"),
    "blenderbot pegasus whisper mbart bigbird_pegasus pp_formulanet bart plbart mvp blenderbot-small": Sites(
        "self_attn+encoder_attn", "fc2", "model.decoder.layers"
    ),
    "gpt_neox_japanese": Sites("attention", "mlp", "gpt_neox_japanese.layers"),
    "mamba falcon_mamba mamba2": Sites("mixer", "", "backbone.layers"),
    "nemotron_h": Sites("mixer", "", "model.layers"),
    "zamba zamba2": Sites("mamba|mamba_decoder.mamba", "", copies=("mamba_decoder.input_layernorm",)),
    "xlstm": Sites("mlstm_layer", "ffn", "backbone.blocks"),
    "gemma4_text gemma4_unified_text": Sites(
        "post_attention_layernorm", "post_feedforward_layernorm+post_per_layer_input_norm"
    ),
    "diffusion_gemma": Sites(
        "post_attention_layernorm",
        "post_feedforward_layernorm",
        "model.encoder.language_model.layers+model.decoder.layers",
    ),
    "t5gemma2": Sites("post_self_attn_layernorm", "post_feedforward_layernorm"),
    "pix2struct": Sites(
        "self_attention.attention+encoder_decoder_attention.attention", "mlp.DenseReluDense", "decoder.layer"
    ),
    "udop": Sites("layer.0.SelfAttention+layer.1.EncDecAttention", "layer.2.DenseReluDense", "decoder.block"),
    "hrm_text": Sites("self_attn", "mlp", "model.L_module.layers+model.H_module.layers"),
    "dbrx": Sites("norm_attn_norm.attn", "ffn", "transformer.blocks"),
    "cpmant": Sites("self_att.self_attention.attention_out", "ffn.ffn.w_out", "cpmant.encoder.layers"),
    "olmo_hybrid": Sites("linear_attn|post_attention_layernorm", "post_feedforward_layernorm|mlp"),
    "rwkv": Sites("attention", "feed_forward", "rwkv.blocks"),
    "inkling_text": Sites("attn_sconv", "mlp_sconv"),
    "inkling2_text": Sites("post_attention_convolution", "post_mlp_convolution"),
    "longcat_flash": Sites("self_attn.0+self_attn.1", "mlps.0+mlps.1+mlp"),
    "xglm": Sites("self_attn", "fc2"),
    "ctrl": Sites("multi_head_attention", "ffn", "transformer.h"),
    "mllama_text_model": Sites("self_attn|cross_attn", "mlp"),
    "idefics": Sites("self_attn|cross_attn", "mlp", "model.gated_cross_attn_layers+model.layers"),
}
"""Model types → their sites, where these are not the usual ones."""

SITES: dict[str, Sites] = {
    **dict.fromkeys(FAMILIES, _USUAL),
    "phi4_multimodal": _USUAL,
    **{model_type: sites for names, sites in _OTHERS.items() for model_type in names.split()},
}
"""model_type → its sites."""


MLP_NORMS: dict[str, str] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma"), "post_attention_layernorm"),
    **dict.fromkeys(("gemma2", "gemma3_text"), "pre_feedforward_layernorm"),
    "gpt2": "ln_2",
}
"""model_type → the norm before the MLP, whose input is resid_mid."""
_GAIN_IS_ONE_PLUS_WEIGHT = ("gemma", "gemma2", "gemma3_text")
_MLPS = ("mlp", "feed_forward", "block_sparse_moe", "ffn")


@dataclass(frozen=True)
class Block:
    """One layer's modules: the block, and those whose outputs it adds to the stream."""

    module: Any
    attn_out: Any
    mlp_out: Any
    copies: tuple[Any, ...] = ()
    mlp: Any = None
    """The MLP itself, None where no one module is it."""
    mlp_norm: Any = None
    """The norm before it, None where that is not in `MLP_NORMS`."""
    unit_gain: float = 1.0
    """What that norm's weight is where its gain is 1."""


def find_blocks(network: Any) -> tuple[Block, ...]:
    """The blocks of a causal language model, first to last.

    Raises:
        AnatomyError: the model type is not in the table.
    """
    config = network.config
    tower = config.model_type not in SITES and config.get_text_config() is not config
    model_type = config.get_text_config().model_type if tower else config.model_type
    if model_type not in SITES:
        raise AnatomyError(
            f"model type {model_type!r}: its residual stream's sites are not known; known are"
            f" {', '.join(sorted(SITES))}"
        )
    sites = SITES[model_type]
    decoder = network.get_decoder() if tower or sites.blocks is None else network
    if sites.blocks is None or hasattr(decoder, "layers"):
        blocks = list(decoder.layers)
    else:
        blocks = [block for path in sites.blocks.split("+") for block in decoder.get_submodule(path)]
    return tuple(_block(block, sites, model_type) for block in blocks)


def _block(block: Any, sites: Sites, model_type: str) -> Block:
    norm = MLP_NORMS.get(model_type)
    copies = [part for name in sites.copies if (part := _submodule(block, name)) is not None]
    mlps = [part for name in _MLPS if (part := _submodule(block, name)) is not None]
    attn_out, mlp_out = _part(block, sites.attn_out), _part(block, sites.mlp_out)
    return Block(
        block,
        attn_out,
        mlp_out,
        tuple(copies),
        mlps[0] if len(mlps) == 1 else None,
        None if norm is None else _submodule(block, norm),
        0.0 if model_type in _GAIN_IS_ONE_PLUS_WEIGHT else 1.0,
    )


class Together:
    """Several modules whose outputs a block adds; what is removed from each is removed from their sum."""

    def __init__(self, modules: Sequence[Any]) -> None:
        self._modules = modules

    def register_forward_hook(self, hook: Callable[..., Any]) -> Together:
        """Hook every one of them; the handle is this object."""
        self._handles = [module.register_forward_hook(hook) for module in self._modules]
        return self

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


def _part(block: Any, names: str) -> Any:
    if "+" in names or not names:
        parts = [_submodule(block, name) for name in names.split("+") if name]
        found = [part for part in parts if part is not None]
        return found[0] if len(found) == 1 else Together(found)
    for name in names.split("|"):
        if (part := _submodule(block, name)) is not None:
            return part
    raise AnatomyError(f"a block of the model has no {names.replace('|', ' and no ')}")


def _submodule(block: Any, name: str) -> Any:
    try:
        return block.get_submodule(name)
    except AttributeError:
        return None
