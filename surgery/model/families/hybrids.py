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
    DENSE,
    EMBEDDING,
    EXPERTS,
    LATENT_READERS,
    MLP,
    READERS,
    behind,
    bias_of,
    llama_like,
    with_bias,
)
from surgery.model.families.table import Family, Need, Sites, WriterRow

_FULL = replace(ATTENTION, kind="mixer:attention")
_LINEAR = WriterRow("layers.{layer}.linear_attn.out_proj.weight", "attention_out", 0, kind="mixer:linear")
_LINEAR_READERS = (
    "layers.{layer}.linear_attn.in_proj_{qkvz|ba|qkv|z|a|b}.weight",
    "layers.{layer}.linear_attn.{A_log|dt_bias|norm.weight|conv1d.weight}",
)
_QWEN_SITES = Sites("self_attn|linear_attn")
_QWEN = (*with_bias(_FULL, "attention_bias"), _LINEAR)
_SPARSE = (
    EXPERTS,
    WriterRow("layers.{layer}.mlp.shared_expert.down_proj.weight", "mlp_out", 0, kind="mlp:sparse"),
)
_SPARSE_READERS = (
    "layers.{layer}.mlp.{gate|shared_expert_gate}.weight",
    "layers.{layer}.mlp.experts.{expert}.{gate|up}_proj.weight",
    "layers.{layer}.mlp.shared_expert.{gate|up}_proj.weight",
)

_CONV = WriterRow("layers.{layer}.conv.out_proj.weight", "attention_out", 0, kind="mixer:convolution")
LFM2 = Family(
    model_types=("lfm2",),
    writers=(
        EMBEDDING,
        WriterRow("layers.{layer}.self_attn.out_proj.weight", "attention_out", 0, kind="mixer:attention"),
        *with_bias(_CONV, "conv_bias"),
        WriterRow("layers.{layer}.feed_forward.w2.weight", "mlp_out", 0),
    ),
    readers=(
        *READERS,
        "embedding_norm.weight",
        "layers.{layer}.{operator|ffn}_norm.weight",
        "layers.{layer}.conv.{conv|in_proj}.{weight|bias}",
        "layers.{layer}.feed_forward.{w1|w3}.weight",
    ),
    tied_by_default=True,
    sites=Sites("self_attn|conv", "feed_forward"),
)

_LINEAR_OUT = WriterRow(
    "layers.{layer}.temporal_block.linear_out.weight", "attention_out", 0, kind="mixer:recurrent"
)
_TEMPORAL_O = WriterRow(
    "layers.{layer}.temporal_block.o_proj.weight", "attention_out", 0, kind="mixer:attention"
)
_MLP_BLOCK = WriterRow("layers.{layer}.mlp_block.down_proj.weight", "mlp_out", 0)
RECURRENT_GEMMA = Family(
    model_types=("recurrent_gemma",),
    writers=(
        EMBEDDING,
        *with_bias(_LINEAR_OUT),
        *with_bias(_TEMPORAL_O),
        *with_bias(_MLP_BLOCK),
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
_JAMBA = (
    replace(_FEED_FORWARD, kind="mlp:dense"),
    WriterRow(
        "layers.{layer}.feed_forward.experts.{expert}.down_proj.weight", "mlp_out", 0, kind="mlp:sparse"
    ),
)
_JAMBA_READERS = (
    "layers.{layer}.feed_forward.router.weight",
    "layers.{layer}.feed_forward.experts.{expert}.{gate|up}_proj.weight",
)

_LFM3 = tuple(behind(row, "post_operator_norm") for row in (*with_bias(_FULL, "attention_bias"), _CONV))
_LFM3_READERS = (
    "embedding_norm.weight",
    "layers.{layer}.{operator|ffn|post_operator|post_ffn}_norm.weight",
    "layers.{layer}.self_attn.gate_proj.{weight|bias}",
    "layers.{layer}.conv.{conv|in_proj}.{weight|bias}",
    "layers.{layer}.feed_forward.{w1|w3}.weight",
)
_W2 = WriterRow("layers.{layer}.feed_forward.w2.weight", "mlp_out", 0)

_KIMI_SPARSE = (
    WriterRow("layers.{layer}.block_sparse_moe.down_proj.weight", "mlp_out", 0, kind="mlp:dense"),
    WriterRow("layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight", "mlp_out", 0, kind="mlp:sparse"),
    WriterRow(
        "layers.{layer}.block_sparse_moe.shared_experts.down_proj.weight", "mlp_out", 0, kind="mlp:sparse"
    ),
)
_DELTA_READERS = (
    "layers.{layer}.self_attn.{A_log|dt_bias}",
    "layers.{layer}.self_attn.{b|f_a|f_b|g_a|g_b}_proj.weight",
    "layers.{layer}.self_attn.{q|k|v}_conv1d.weight",
    "layers.{layer}.self_attn.o_norm.weight",
)
_KIMI_READERS = (
    *LATENT_READERS,
    *_DELTA_READERS,
    "layers.{layer}.block_sparse_moe.gate.{weight|e_score_correction_bias}",
    "layers.{layer}.block_sparse_moe.experts.{expert}.{w1|w3}.weight",
    "layers.{layer}.block_sparse_moe.{gate|up}_proj.weight",
    "layers.{layer}.block_sparse_moe.shared_experts.{gate|up}_proj.weight",
)

_GRANITE = (
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
)
_GRANITE_READERS = (
    "layers.{layer}.block_sparse_moe.{input_linear|router.layer}.weight",
    "layers.{layer}.shared_mlp.input_linear.weight",
)

LFM2_MOE = replace(
    LFM2,
    model_types=("lfm2_moe",),
    writers=(
        *LFM2.writers[:-1],
        replace(LFM2.writers[-1], kind="mlp:dense"),
        WriterRow("layers.{layer}.feed_forward.experts.{expert}.w2.weight", "mlp_out", 0, kind="mlp:sparse"),
    ),
    readers=(
        *LFM2.readers,
        "layers.{layer}.feed_forward.{gate.weight|expert_bias}",
        "layers.{layer}.feed_forward.experts.{expert}.{w1|w3}.weight",
    ),
)

_QWEN4_READERS = (
    "hyper_connection_mixer.{hc_norm|input_mix_weight_down|input_mix_weight_up}.weight",
    "layers.{layer}.{attn|mlp}_hyper_connection.{hc_norm|block_inject_weight}.weight",
    "layers.{layer}.{attn|mlp}_hyper_connection.input_mix_weight_{down|up}.weight",
    "layers.{layer}.self_attn.indexer.{index_qk_proj|q_layernorm|k_layernorm}.weight",
)
_NO_NGRAMS = Need(
    "ple_layer_ids",
    False,
    "what embeddings of n-grams write passes a convolution and a SiLU coordinate by coordinate, so no edit of"
    " them is exact",
)

FAMILIES = (
    LFM2,
    LFM2_MOE,
    llama_like(
        "granitemoehybrid",
        *_GRANITE,
        readers=(*_MAMBA_READERS, *_GRANITE_READERS),
        sites=Sites("self_attn|mamba", "block_sparse_moe+shared_mlp"),
    ),
    llama_like(
        "lfm3",
        *_LFM3,
        bias_of(_LFM3[2], "conv_bias"),
        behind(_W2, "post_ffn_norm"),
        readers=_LFM3_READERS,
        tied_by_default=True,
        sites=Sites("post_operator_norm", "post_ffn_norm"),
    ),
    llama_like("kimi_linear", ATTENTION, *_KIMI_SPARSE, readers=_KIMI_READERS),
    RECURRENT_GEMMA,
    llama_like(
        "qwen3_next", *_QWEN, DENSE, *_SPARSE, readers=(*_LINEAR_READERS, *_SPARSE_READERS), sites=_QWEN_SITES
    ),
    llama_like("qwen3_5_text", *_QWEN, MLP, readers=_LINEAR_READERS, sites=_QWEN_SITES),
    llama_like(
        "qwen3_5_moe_text", *_QWEN, *_SPARSE, readers=(*_LINEAR_READERS, *_SPARSE_READERS), sites=_QWEN_SITES
    ),
    replace(
        llama_like(
            "qwen4_exp_text",
            *_QWEN,
            *_SPARSE,
            readers=(*_LINEAR_READERS, *_SPARSE_READERS, *_QWEN4_READERS),
            sites=_QWEN_SITES,
        ),
        needs=(_NO_NGRAMS,),
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
        *_JAMBA,
        readers=(*_MAMBA_READERS, *_FEED_READERS, *_JAMBA_READERS),
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
