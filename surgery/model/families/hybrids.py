"""Families in which some layers mix positions by other means than attention: linear attention, a state-space
model, a short convolution.

    h ← h + W_out·mixer(norm h);   h ← h + down_proj(mlp(norm h))

Whatever the mixer, one matrix writes what it found to the stream; it counts as attention_out. Which mixer a
layer has is read from its tensors.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.parts import (
    ATTENTION,
    BIASED_ATTENTION,
    DELTA_READERS,
    DENSE,
    EMBEDDING,
    EXPERTS,
    GATED_SHARED,
    LATENT_READERS,
    MLP,
    ROUTER,
    behind,
    bias_of,
    llama_like,
    shared,
    with_bias,
)
from surgery.model.families.table import Family, Need, Sites, WriterRow

_FULL = replace(ATTENTION, kind="mixer:attention")

_LINEAR_READERS = (
    "layers.{layer}.linear_attn.in_proj_{qkvz|ba|qkv|z|a|b}.weight",
    "layers.{layer}.linear_attn.{A_log|dt_bias|norm.weight|conv1d.weight}",
)
_QWEN_SITES = Sites("self_attn|linear_attn")
_QWEN = (
    *with_bias(_FULL, "attention_bias"),
    WriterRow("layers.{layer}.linear_attn.out_proj.weight", "attention_out", 0, kind="mixer:linear"),
)
_SPARSE = (EXPERTS, shared("shared_expert"))
_SPARSE_READERS = (*_LINEAR_READERS, *ROUTER, *GATED_SHARED)

_CONV = WriterRow("layers.{layer}.conv.out_proj.weight", "attention_out", 0, kind="mixer:convolution")
LFM2 = llama_like(
    "lfm2",
    WriterRow("layers.{layer}.self_attn.out_proj.weight", "attention_out", 0, kind="mixer:attention"),
    *with_bias(_CONV, "conv_bias"),
    WriterRow("layers.{layer}.feed_forward.w2.weight", "mlp_out", 0),
    readers=(
        "embedding_norm.weight",
        "layers.{layer}.{operator|ffn}_norm.weight",
        "layers.{layer}.conv.{conv|in_proj}.{weight|bias}",
        "layers.{layer}.feed_forward.{w1|w3}.weight",
    ),
    tied_by_default=True,
    sites=Sites("self_attn|conv", "feed_forward"),
)

_MAMBA = WriterRow("layers.{layer}.mamba.out_proj.weight", "attention_out", 0)
_MAMBA_READERS = (
    "layers.{layer}.mamba.{A_log|D|dt_bias|norm.weight}",
    "layers.{layer}.mamba.{in_proj|conv1d|dt_proj|x_proj}.{weight|bias}",
    "layers.{layer}.mamba.{b|c|dt}_layernorm.weight",
    "final_layernorm.weight",
    "layers.{layer}.pre_ff_layernorm.weight",
)
_FEED_FORWARD = WriterRow("layers.{layer}.feed_forward.down_proj.weight", "mlp_out", 0)
_FEED_READERS = ("layers.{layer}.feed_forward.{gate|up}_proj.{weight|bias}",)
_MAMBA_SITES = Sites("self_attn|mamba", "feed_forward")
_MIXERS = (_FULL, replace(_MAMBA, kind="mixer:mamba"))

_LFM3 = tuple(behind(row, "post_operator_norm") for row in (*with_bias(_FULL, "attention_bias"), _CONV))

FAMILIES = (
    LFM2,
    replace(
        LFM2,
        model_types=("lfm2_moe",),
        writers=(
            *LFM2.writers[:-1],
            replace(LFM2.writers[-1], kind="mlp:dense"),
            WriterRow(
                "layers.{layer}.feed_forward.experts.{expert}.w2.weight", "mlp_out", 0, kind="mlp:sparse"
            ),
        ),
        readers=(
            *LFM2.readers,
            "layers.{layer}.feed_forward.{gate.weight|expert_bias}",
            "layers.{layer}.feed_forward.experts.{expert}.{w1|w3}.weight",
        ),
    ),
    llama_like(
        "granitemoehybrid",
        *_MIXERS,
        bias_of(_FULL, "attention_bias"),
        bias_of(_MIXERS[1], "mamba_proj_bias"),
        WriterRow(
            "layers.{layer}.block_sparse_moe.output_linear.weight",
            "mlp_out",
            1,
            fused=True,
            needs="num_local_experts",
        ),
        WriterRow("layers.{layer}.shared_mlp.output_linear.weight", "mlp_out", 0),
        readers=(
            *_MAMBA_READERS,
            "layers.{layer}.block_sparse_moe.{input_linear|router.layer}.weight",
            "layers.{layer}.shared_mlp.input_linear.weight",
        ),
        sites=Sites("self_attn|mamba", "block_sparse_moe+shared_mlp"),
    ),
    llama_like(
        "lfm3",
        *_LFM3,
        bias_of(_LFM3[2], "conv_bias"),
        behind(WriterRow("layers.{layer}.feed_forward.w2.weight", "mlp_out", 0), "post_ffn_norm"),
        readers=(
            "embedding_norm.weight",
            "layers.{layer}.{operator|ffn|post_operator|post_ffn}_norm.weight",
            "layers.{layer}.self_attn.gate_proj.{weight|bias}",
            "layers.{layer}.conv.{conv|in_proj}.{weight|bias}",
            "layers.{layer}.feed_forward.{w1|w3}.weight",
        ),
        tied_by_default=True,
        sites=Sites("post_operator_norm", "post_ffn_norm"),
    ),
    llama_like(
        "kimi_linear",
        ATTENTION,
        WriterRow("layers.{layer}.block_sparse_moe.down_proj.weight", "mlp_out", 0, kind="mlp:dense"),
        WriterRow(
            "layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight", "mlp_out", 0, kind="mlp:sparse"
        ),
        WriterRow(
            "layers.{layer}.block_sparse_moe.shared_experts.down_proj.weight", "mlp_out", 0, kind="mlp:sparse"
        ),
        readers=(
            *LATENT_READERS,
            *DELTA_READERS,
            "layers.{layer}.block_sparse_moe.gate.{weight|e_score_correction_bias}",
            "layers.{layer}.block_sparse_moe.experts.{expert}.{w1|w3}.weight",
            "layers.{layer}.block_sparse_moe.{gate|up}_proj.weight",
            "layers.{layer}.block_sparse_moe.shared_experts.{gate|up}_proj.weight",
        ),
    ),
    Family(
        model_types=("recurrent_gemma",),
        writers=(
            EMBEDDING,
            *with_bias(
                WriterRow(
                    "layers.{layer}.temporal_block.linear_out.weight",
                    "attention_out",
                    0,
                    kind="mixer:recurrent",
                )
            ),
            *with_bias(
                WriterRow(
                    "layers.{layer}.temporal_block.o_proj.weight", "attention_out", 0, kind="mixer:attention"
                )
            ),
            *with_bias(WriterRow("layers.{layer}.mlp_block.down_proj.weight", "mlp_out", 0)),
        ),
        readers=(
            "final_norm.weight",
            "layers.{layer}.{temporal|channel}_pre_norm.weight",
            "layers.{layer}.temporal_block.{linear_x|linear_y|conv_1d|q_proj|k_proj|v_proj}.{weight|bias}",
            "layers.{layer}.temporal_block.rg_lru.{recurrent_param|input_gate_bias|recurrent_gate_bias}",
            "layers.{layer}.temporal_block.rg_lru.{input_gate_weight|recurrent_gate_weight}",
            "layers.{layer}.mlp_block.{gate|up}_proj.{weight|bias}",
        ),
        tied_by_default=True,
        sites=Sites("temporal_block", "mlp_block"),
        pads=False,
    ),
    llama_like("qwen3_next", *_QWEN, DENSE, *_SPARSE, readers=_SPARSE_READERS, sites=_QWEN_SITES),
    llama_like("qwen3_5_text", *_QWEN, MLP, readers=_LINEAR_READERS, sites=_QWEN_SITES),
    llama_like("qwen3_5_moe_text", *_QWEN, *_SPARSE, readers=_SPARSE_READERS, sites=_QWEN_SITES),
    llama_like(
        "qwen4_exp_text",
        *_QWEN,
        *_SPARSE,
        readers=(
            *_SPARSE_READERS,
            "hyper_connection_mixer.{hc_norm|input_mix_weight_down|input_mix_weight_up}.weight",
            "layers.{layer}.{attn|mlp}_hyper_connection.{hc_norm|block_inject_weight}.weight",
            "layers.{layer}.{attn|mlp}_hyper_connection.input_mix_weight_{down|up}.weight",
            "layers.{layer}.self_attn.indexer.{index_qk_proj|q_layernorm|k_layernorm}.weight",
        ),
        sites=_QWEN_SITES,
        needs=(
            Need(
                "ple_layer_ids",
                False,
                "what embeddings of n-grams write passes a convolution and a SiLU coordinate by coordinate,"
                " so no edit of them is exact",
            ),
        ),
    ),
    llama_like(
        "falcon_h1",
        *BIASED_ATTENTION,
        *with_bias(_MAMBA, "projectors_bias"),
        *with_bias(_FEED_FORWARD, "mlp_bias"),
        readers=(*_MAMBA_READERS, *_FEED_READERS),
        sites=Sites("self_attn+mamba", "feed_forward"),
    ),
    llama_like(
        "jamba",
        *_MIXERS,
        bias_of(_MIXERS[1], "mamba_proj_bias"),
        replace(_FEED_FORWARD, kind="mlp:dense"),
        WriterRow(
            "layers.{layer}.feed_forward.experts.{expert}.down_proj.weight", "mlp_out", 0, kind="mlp:sparse"
        ),
        readers=(
            *_MAMBA_READERS,
            *_FEED_READERS,
            "layers.{layer}.feed_forward.router.weight",
            "layers.{layer}.feed_forward.experts.{expert}.{gate|up}_proj.weight",
        ),
        sites=_MAMBA_SITES,
    ),
    llama_like(
        "bamba",
        *_MIXERS,
        bias_of(_FULL, "attention_bias"),
        bias_of(_MIXERS[1], "mamba_proj_bias"),
        *with_bias(_FEED_FORWARD, "mlp_bias"),
        readers=(*_MAMBA_READERS, *_FEED_READERS),
        sites=_MAMBA_SITES,
    ),
)
