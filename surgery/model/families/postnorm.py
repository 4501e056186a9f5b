"""Families that normalise what a sublayer adds, by an RMSNorm whose weight is its gain.

    h ← h + norm(o_proj(attention(h)));   h ← h + norm(down_proj(mlp(h)))

o_proj and down_proj, with their biases, are projected with gain∘r; the embedding passes no norm and is
projected with r. GLM-4 and HyperCLOVA X have a norm before each sublayer as well, which only reads.
"""

from __future__ import annotations

from surgery.model.families.parts import ATTENTION, MLP, behind, bias_of, llama_like

_POST_ATTENTION = behind(ATTENTION, "post_attention_layernorm")
_POST_MLP = behind(MLP, "post_feedforward_layernorm")
_POST_FEEDFORWARD = ("layers.{layer}.post_feedforward_layernorm.weight",)
_OLMO2 = (_POST_ATTENTION, bias_of(_POST_ATTENTION, "attention_bias"), _POST_MLP)

_GLM4 = (behind(ATTENTION, "post_self_attn_layernorm"), behind(MLP, "post_mlp_layernorm"))
_GLM4_NORMS = ("layers.{layer}.post_{self_attn|mlp}_layernorm.weight",)

_CLOVA_ATTENTION = behind(ATTENTION, "post_norm1", flag="use_post_norm")
_CLOVA_MLP = behind(MLP, "post_norm2", flag="use_post_norm")
_CLOVA = (
    _CLOVA_ATTENTION,
    bias_of(_CLOVA_ATTENTION, "attention_bias"),
    _CLOVA_MLP,
    bias_of(_CLOVA_MLP, "mlp_bias"),
)

FAMILIES = (
    llama_like("olmo2", *_OLMO2, readers=_POST_FEEDFORWARD),
    llama_like("olmo3", *_OLMO2, readers=_POST_FEEDFORWARD),
    llama_like("exaone4", _POST_ATTENTION, _POST_MLP, readers=_POST_FEEDFORWARD),
    llama_like("glm4", *_GLM4, readers=_GLM4_NORMS),
    llama_like("hyperclovax", *_CLOVA, readers=("layers.{layer}.post_norm{1|2}.weight",)),
)
