"""Rows that many tables share: the names that Llama gave its parts, which most later families kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from surgery.model.families.table import Family, Gain, Sites, WriterRow

EMBEDDING = WriterRow("embed_tokens.weight", "embedding", 1)
ATTENTION = WriterRow("layers.{layer}.self_attn.o_proj.weight", "attention_out", 0)
MLP = WriterRow("layers.{layer}.mlp.down_proj.weight", "mlp_out", 0)

DENSE = replace(MLP, kind="mlp:dense")
EXPERTS = WriterRow("layers.{layer}.mlp.experts.{expert}.down_proj.weight", "mlp_out", 0, kind="mlp:sparse")
FUSED = WriterRow("layers.{layer}.mlp.experts.down_proj", "mlp_out", 1, fused=True, kind="mlp:sparse")
SHARED = WriterRow("layers.{layer}.mlp.shared_experts.down_proj.weight", "mlp_out", 0, kind="mlp:sparse")

READERS = (
    "norm.{weight|bias}",
    "layers.{layer}.{input|post_attention}_layernorm.{weight|bias}",
    "layers.{layer}.self_attn.{q|k|v|qkv}_proj.{weight|bias}",
    "layers.{layer}.self_attn.{q_norm|k_norm|q_layernorm|k_layernorm}.{weight|bias}",
    "layers.{layer}.self_attn.{query|key}_layernorm.weight",
    "layers.{layer}.mlp.{gate|up|gate_up}_proj.{weight|bias}",
    # Old conversions stored the rotary frequencies, a constant that loaders recompute.
    "layers.{layer}.self_attn.rotary_emb.inv_freq",
    "rotary_emb.inv_freq",
)
"""What reads in a block with Llama's names; biases too, which a reader may have in any family."""

LATENT_READERS = (
    "layers.{layer}.self_attn.{q_a|q_b|kv_b}_proj.{weight|bias}",
    "layers.{layer}.self_attn.kv_a_proj_with_mqa.{weight|bias}",
    "layers.{layer}.self_attn.{q_a|kv_a}_layernorm.weight",
)
"""What reads in multi-head latent attention (DeepSeek-V2, section 2.1); only o_proj writes."""

INDEXER = (
    "layers.{layer}.self_attn.indexer.{wq_b|wk|weights_proj}.weight",
    "layers.{layer}.self_attn.indexer.k_norm.{weight|bias}",
)
"""What reads to choose the positions that sparse attention sees (DeepSeek-V3.2)."""

DELTA_READERS = (
    "layers.{layer}.self_attn.{A_log|dt_bias|o_norm.weight}",
    "layers.{layer}.self_attn.{b|f_a|f_b|g_a|g_b}_proj.weight",
    "layers.{layer}.self_attn.{q|k|v}_conv1d.weight",
)
"""What reads in Kimi's delta attention."""

ROUTER = (
    "layers.{layer}.mlp.{gate|router|router.gate|router.layer}.{weight|bias}",
    "layers.{layer}.mlp.{gate.e_score_correction_bias|moe_statics.e_score_correction_bias}",
    "layers.{layer}.mlp.{e_score_correction_bias|expert_bias|gate.expert_bias}",
    "layers.{layer}.mlp.experts.{expert}.{gate|up}_proj.{weight|bias}",
    "layers.{layer}.mlp.{shared_experts|shared_expert|shared_mlp}.{gate|up}_proj.{weight|bias}",
)
"""What reads in a mixture of experts, under all usual names of the router's parts."""
GATED_SHARED = ("layers.{layer}.mlp.shared_expert_gate.weight",)
LATENT = (*ROUTER, *LATENT_READERS)


def bias_of(row: WriterRow, flag: str | None = None, *, assumed: bool = False) -> WriterRow:
    """The bias beside a matrix, which is there where the config sets `flag` (always, where there is none)."""
    pattern = row.pattern.removesuffix(".weight") + ".bias"
    return replace(row, pattern=pattern, residual_axis=0, bias=True, needs=flag, assumed=assumed)


def with_bias(row: WriterRow, flag: str | None = None, *, assumed: bool = False) -> tuple[WriterRow, ...]:
    """A matrix and the bias beside it; see `bias_of`."""
    return row, bias_of(row, flag, assumed=assumed)


def shared(name: str, flag: str | None = None, *, assumed: bool = True) -> WriterRow:
    """Experts that every token passes, which are there where the config sets `flag`."""
    pattern = f"layers.{{layer}}.mlp.{name}.down_proj.weight"
    return WriterRow(pattern, "mlp_out", 0, kind="mlp:sparse", needs=flag, assumed=assumed)


BIASED_ATTENTION = with_bias(ATTENTION, "attention_bias")
MLP_BIAS = bias_of(MLP, "mlp_bias")
PLAIN = (ATTENTION, MLP)
BIASED = (*BIASED_ATTENTION, MLP)
"""The writers of a block with Llama's names, without and with the bias that a config may ask for."""
ROUTED = (*BIASED_ATTENTION, DENSE, EXPERTS, SHARED)
ROUTED_FUSED = (*BIASED_ATTENTION, DENSE, FUSED, SHARED)
DEEPSEEK = (*BIASED_ATTENTION, DENSE, EXPERTS, shared("shared_experts", "n_shared_experts"))
"""The writers of a block with routed and shared experts, each by itself or in one tensor; in DeepSeek's the
config says whether it has shared ones.
"""


def behind(row: WriterRow, norm: str, *, offset: float = 0.0, flag: str | None = None) -> WriterRow:
    """The same row with an RMSNorm of its layer between it and the stream, whose gain is offset + weight."""
    return replace(row, gain=Gain(f"layers.{{layer}}.{norm}.weight", offset, flag))


POST_NORM_SITES = Sites("post_attention_layernorm", "post_feedforward_layernorm")
GLM4_SITES = Sites("post_self_attn_layernorm", "post_mlp_layernorm")
"""Where each sublayer's norm is the last before the stream, under the two usual names."""


def llama_like(name: str, *rows: WriterRow, readers: tuple[str, ...] = (), **settings: Any) -> Family:
    """A family of one model type with Llama's names, an embedding, and these writers in its blocks;
    `settings` are other fields of `Family`.
    """
    return Family((name,), (EMBEDDING, *rows), (*READERS, *readers), **settings)
