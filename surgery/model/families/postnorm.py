"""Families that normalise what a sublayer adds.

    h ← a · embed_tokens[token]
    h ← h + norm(o_proj(attention(h)));   h ← h + norm(down_proj(mlp(h)))

The norm is an RMSNorm whose gain is its weight, in Gemma 2 and 3 one more than that. o_proj and down_proj,
with their biases, are projected with gain∘r; the embedding passes no norm and is projected with r. GLM-4,
HyperCLOVA X and Gemma have a norm before each sublayer as well, which only reads.
"""

from __future__ import annotations

from surgery.model.families.parts import (
    ATTENTION,
    BIASED_ATTENTION,
    GLM4_SITES,
    MLP,
    POST_NORM_SITES,
    behind,
    llama_like,
    with_bias,
)
from surgery.model.families.table import Sites

_POST_ATTENTION = behind(ATTENTION, "post_attention_layernorm")
_POST_MLP = behind(MLP, "post_feedforward_layernorm")
_POST_FEEDFORWARD = ("layers.{layer}.post_feedforward_layernorm.weight",)
_OLMO2 = (*with_bias(_POST_ATTENTION, "attention_bias"), _POST_MLP)

_GEMMA = (
    *(behind(row, "post_attention_layernorm", offset=1.0) for row in BIASED_ATTENTION),
    behind(MLP, "post_feedforward_layernorm", offset=1.0),
)
_GEMMA_NORMS = ("layers.{layer}.{pre|post}_feedforward_layernorm.weight",)

GLM4 = (behind(ATTENTION, "post_self_attn_layernorm"), behind(MLP, "post_mlp_layernorm"))
GLM4_NORMS = ("layers.{layer}.post_{self_attn|mlp}_layernorm.weight",)

FAMILIES = (
    llama_like("gemma2", *_GEMMA, readers=_GEMMA_NORMS, tied_by_default=True, sites=POST_NORM_SITES),
    llama_like("gemma3_text", *_GEMMA, readers=_GEMMA_NORMS, tied_by_default=True, sites=POST_NORM_SITES),
    llama_like("olmo2", *_OLMO2, readers=_POST_FEEDFORWARD, sites=POST_NORM_SITES),
    llama_like("olmo3", *_OLMO2, readers=_POST_FEEDFORWARD, sites=POST_NORM_SITES),
    llama_like("exaone4", _POST_ATTENTION, _POST_MLP, readers=_POST_FEEDFORWARD, sites=POST_NORM_SITES),
    llama_like("glm4", *GLM4, readers=GLM4_NORMS, sites=GLM4_SITES),
    llama_like(
        "hyperclovax",
        *with_bias(behind(ATTENTION, "post_norm1", flag="use_post_norm"), "attention_bias"),
        *with_bias(behind(MLP, "post_norm2", flag="use_post_norm"), "mlp_bias"),
        readers=("layers.{layer}.post_norm{1|2}.weight",),
        sites=Sites("post_norm1|self_attn", "post_norm2|mlp"),
    ),
)
