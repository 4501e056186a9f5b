"""More mixtures of experts, and families beside them that name their parts in ways of their own.

    h ← h + W_o·attention(norm h);   h ← h + Σ_e p_e · W_e·act(x) + W_shared·act(x)

DBRX stacks the experts of a layer in one matrix [E·inter, d_model] that is used from the left, so its
residual axis is 1. OLMo hybrid norms what its attention layers add, and not what its linear ones do: the same
name is behind a norm in one layer and not in the next. CPM-Ant's prompt tokens lie behind the vocabulary in
the same embedding.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.parts import (
    ATTENTION,
    BIASED_ATTENTION,
    DEEPSEEK,
    DENSE,
    EXPERTS,
    FUSED,
    INDEXER,
    LATENT,
    LATENT_READERS,
    MLP,
    READERS,
    ROUTED_FUSED,
    ROUTER,
    SHARED,
    behind,
    llama_like,
    shared,
    with_bias,
)
from surgery.model.families.table import Family, Gain, Sites, WriterRow

_LISTED = tuple(
    WriterRow(f"layers.{{layer}}.block_sparse_moe.{name}.weight", "mlp_out", 0, kind="mlp:listed")
    for name in ("experts.{expert}.w2", "shared_experts.down_proj")
)  # the name of each expert's own matrix, which a checkpoint that also sees has

FAMILIES = (
    Family(
        model_types=("dbrx",),
        writers=(
            WriterRow("wte.weight", "embedding", 1),
            WriterRow("blocks.{layer}.norm_attn_norm.attn.out_proj.weight", "attention_out", 0),
            WriterRow("blocks.{layer}.ffn.experts.mlp.w2", "mlp_out", 1),
        ),
        readers=(
            "norm_f.weight",
            "blocks.{layer}.norm_attn_norm.norm_{1|2}.weight",
            "blocks.{layer}.norm_attn_norm.attn.Wqkv.weight",
            "blocks.{layer}.ffn.router.layer.weight",
            "blocks.{layer}.ffn.experts.mlp.{v1|w1}",
        ),
        prefixes=("transformer.",),
        width="d_model",
        depth="n_layers",
        sites=Sites("norm_attn_norm.attn", "ffn", "transformer.blocks"),
    ),
    Family(
        model_types=("bailing_hybrid",),
        writers=(
            WriterRow("word_embeddings.weight", "embedding", 1),
            WriterRow("layers.{layer}.attention.dense.weight", "attention_out", 0),
            DENSE,
            EXPERTS,
            SHARED,
        ),
        readers=(
            *READERS,
            *ROUTER,
            *(name.replace("self_attn", "attention") for name in LATENT_READERS),
            "layers.{layer}.attention.{A_log|dt_bias|o_norm.weight|kv_b_proj.weight}",
            "layers.{layer}.attention.{b|f|g|q|k|v}_proj.{weight|bias}",
            "layers.{layer}.attention.{q|k|v}_conv1d.weight",
        ),
    ),
    Family(
        model_types=("cpmant",),
        writers=(
            WriterRow("input_embedding.weight", "embedding", 1),
            WriterRow("segment_embedding.weight", "embedding", 1),
            WriterRow(
                "encoder.layers.{layer}.self_att.self_attention.attention_out.weight", "attention_out", 0
            ),
            WriterRow("encoder.layers.{layer}.ffn.ffn.w_out.weight", "mlp_out", 0),
        ),
        readers=(
            "encoder.output_layernorm.weight",
            "position_bias.relative_attention_bias",
            "encoder.layers.{layer}.self_att.layernorm_before_attention.weight",
            "encoder.layers.{layer}.self_att.self_attention.project_{q|k|v}.weight",
            "encoder.layers.{layer}.ffn.layernorm_before_ffn.weight",
            "encoder.layers.{layer}.ffn.ffn.w_in.{w_0|w_1}.weight",
        ),
        prefixes=("cpmant.",),
        sites=Sites("self_att.self_attention.attention_out", "ffn.ffn.w_out", "cpmant.encoder.layers"),
    ),
    llama_like(
        "olmo_hybrid",
        *with_bias(
            behind(
                replace(ATTENTION, kind="mixer:attention"),
                "{post_attention_layernorm|feedforward_layer_norm}",
            ),
            "attention_bias",
        ),
        WriterRow("layers.{layer}.linear_attn.o_proj.weight", "attention_out", 0, kind="mixer:linear"),
        replace(
            MLP,
            gain=Gain("layers.{layer}.post_feedforward_layernorm.weight", 0.0, layer_type="full_attention"),
        ),
        readers=(
            "layers.{layer}.{attention|feedforward}_layer_norm.weight",
            "layers.{layer}.post_feedforward_layernorm.weight",
            "layers.{layer}.linear_attn.{A_log|dt_bias|o_norm.weight}",
            "layers.{layer}.linear_attn.{a|b|g|q|k|v}_proj.weight",
            "layers.{layer}.linear_attn.{q_conv1d|k_conv1d|v_conv1d|conv1d}.weight",
        ),
        sites=Sites("linear_attn|post_attention_layernorm", "post_feedforward_layernorm|mlp"),
    ),
    llama_like(
        "minimax_m3_vl_text",
        ATTENTION,
        DENSE,
        FUSED,
        SHARED,
        *_LISTED,
        readers=(
            *ROUTER,
            "layers.{layer}.block_sparse_moe.gate.weight",
            "layers.{layer}.block_sparse_moe.e_score_correction_bias",
            "layers.{layer}.block_sparse_moe.experts.{expert}.{w1|w3}.weight",
            "layers.{layer}.block_sparse_moe.shared_experts.{gate|up}_proj.weight",
            "layers.{layer}.mlp.experts.gate_up_proj",
            "layers.{layer}.mlp.shared_experts.gate_up_proj.weight",
            "layers.{layer}.self_attn.{index_q_proj|index_k_proj|index_q_norm|index_k_norm}.weight",
        ),
    ),
    llama_like(
        "laguna",
        *BIASED_ATTENTION,
        DENSE,
        EXPERTS,
        shared("shared_expert"),
        readers=(
            *ROUTER,
            "layers.{layer}.self_attn.g_proj.weight",
            "layers.{layer}.mlp.experts.e_score_correction_bias",
        ),
    ),
    llama_like(
        "axk2",
        *DEEPSEEK,
        readers=(
            *LATENT,
            *INDEXER,
            "layers.{layer}.{input|post_attention}_layernorm.{W_down|W_up|norm}.weight",
        ),
    ),
    llama_like(
        "dots3_note_text",
        *DEEPSEEK,
        readers=(*LATENT, *INDEXER, "layers.{layer}.self_attn.{g_proj|k_rope_only_layernorm}.weight"),
    ),
    llama_like(
        "mistral4",
        *ROUTED_FUSED,
        readers=(*LATENT, "layers.{layer}.mlp.experts.gate_up_proj"),
    ),
)
