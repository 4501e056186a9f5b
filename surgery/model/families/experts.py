"""Mixtures of experts: every routed expert writes, and so does the shared one.

    h ← h + o_proj(attention(norm h));   h ← h + Σ_e p_e · down_proj_e(act(x)) + s · down_projshared(act(x))

p_e and s are scalars per token, which change nothing for a projection; the router only reads. Most files
hold one matrix an expert. gpt-oss, Llama 4 and Aria hold all experts of a layer in one tensor [E, inter,
d_model], Granite MoE and JetMoE in one [E, d_model, inter]: the residual axis is 2 there and 1 here, also
where inter is d_model. A layer is dense or sparse; which one is read from its tensors.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.parts import (
    ATTENTION,
    BIASED_ATTENTION,
    DEEPSEEK,
    DENSE,
    EXPERTS,
    GATED_SHARED,
    GLM4_SITES,
    INDEXER,
    LATENT,
    POST_NORM_SITES,
    ROUTER,
    SHARED,
    behind,
    bias_of,
    llama_like,
    shared,
    with_bias,
)
from surgery.model.families.table import Sites, WriterRow

_W2 = WriterRow("layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight", "mlp_out", 0)
_MIXTRAL = (
    "layers.{layer}.block_sparse_moe.gate.weight",
    "layers.{layer}.block_sparse_moe.e_score_correction_bias",
    "layers.{layer}.block_sparse_moe.experts.{expert}.{w1|w3}.weight",
)

_OUTPUT_LINEAR = WriterRow("layers.{layer}.block_sparse_moe.output_linear.weight", "mlp_out", 1, fused=True)
_SHARED_MLP = WriterRow(
    "layers.{layer}.shared_mlp.output_linear.weight", "mlp_out", 0, needs="shared_intermediate_size"
)
_GRANITE = (
    "layers.{layer}.block_sparse_moe.{input_linear|router.layer|router}.weight",
    "layers.{layer}.shared_mlp.input_linear.weight",
    "layers.{layer}.self_attn.sinks",
)
_GRANITE_SITES = Sites(mlp_out="block_sparse_moe+shared_mlp")

_POST_ATTENTION = behind(ATTENTION, "post_attention_layernorm")

_POST_FEEDFORWARD = ("layers.{layer}.{pre|post}_feedforward_layernorm.weight",)

FAMILIES = (
    llama_like(
        "beam",
        *with_bias(_POST_ATTENTION, "attention_bias"),
        *(behind(row, "post_feedforward_layernorm") for row in (DENSE, EXPERTS)),
        readers=(*ROUTER, *_POST_FEEDFORWARD, "layers.{layer}.self_attn.{gate_bias|gate_proj.weight}"),
        sites=POST_NORM_SITES,
    ),
    llama_like(
        "kolibri1",
        behind(ATTENTION, "post_attn_norm"),
        *(behind(row, "post_ffn_norm") for row in (EXPERTS, SHARED)),
        readers=(
            *ROUTER,
            "layers.{layer}.post_{attn|ffn}_norm.weight",
            "layers.{layer}.moe.router.expert_bias",
        ),
        sites=GLM4_SITES,
    ),
    llama_like(
        "flint",
        *BIASED_ATTENTION,
        DENSE,
        EXPERTS,
        shared("shared_expert"),
        readers=(*ROUTER, *GATED_SHARED, "layers.{layer}.self_attn.softmax_offset"),
    ),
    llama_like("mixtral", ATTENTION, _W2, readers=_MIXTRAL),
    llama_like("phimoe", *BIASED_ATTENTION, _W2, readers=_MIXTRAL),
    llama_like("minimax_m2", ATTENTION, _W2, readers=_MIXTRAL),
    llama_like(
        "qwen2_moe",
        ATTENTION,
        DENSE,
        EXPERTS,
        shared("shared_expert"),
        readers=(*ROUTER, *GATED_SHARED),
    ),
    llama_like("qwen3_moe", *BIASED_ATTENTION, DENSE, EXPERTS, readers=ROUTER),
    llama_like("mellum", *BIASED_ATTENTION, DENSE, EXPERTS, readers=ROUTER),
    llama_like("olmoe", *BIASED_ATTENTION, EXPERTS, readers=ROUTER),
    llama_like("deepseek_v2", *DEEPSEEK, readers=LATENT),
    llama_like("deepseek_v3", *DEEPSEEK, readers=LATENT),
    llama_like("deepseek_v32", *DEEPSEEK, readers=(*LATENT, *INDEXER)),
    llama_like("glm_moe_dsa", *DEEPSEEK, readers=(*LATENT, *INDEXER)),
    llama_like("glm4_moe", *(row for row in DEEPSEEK if not row.bias), readers=ROUTER),
    llama_like("glm4_moe_lite", *DEEPSEEK, readers=LATENT),
    llama_like(
        "axk1",
        *BIASED_ATTENTION,
        DENSE,
        behind(EXPERTS, "post_mlp_layernorm"),
        behind(shared("shared_experts", "n_shared_experts"), "post_mlp_layernorm"),
        readers=(*LATENT, "layers.{layer}.post_mlp_layernorm.weight"),
        sites=Sites("self_attn", "post_mlp_layernorm|mlp"),
    ),
    llama_like("dots1", *DEEPSEEK, readers=ROUTER),
    llama_like(
        "solar_open", ATTENTION, EXPERTS, shared("shared_experts", "n_shared_experts"), readers=ROUTER
    ),
    llama_like(
        "exaone_moe",
        ATTENTION,
        DENSE,
        EXPERTS,
        shared("shared_experts", "num_shared_experts"),
        readers=ROUTER,
    ),
    llama_like(
        "ernie4_5_moe",
        *with_bias(ATTENTION, "use_bias"),
        *with_bias(DENSE, "use_bias"),
        EXPERTS,
        shared("shared_experts", "moe_num_shared_experts"),
        bias_of(SHARED, "use_bias"),
        readers=ROUTER,
        tied_by_default=True,
    ),
    llama_like(
        "hunyuan_v1_moe",
        *BIASED_ATTENTION,
        EXPERTS,
        shared("shared_mlp"),
        readers=(*ROUTER, "layers.{layer}.mlp.gate.wg.weight"),
    ),
    llama_like("hy_v3", *BIASED_ATTENTION, DENSE, EXPERTS, shared("shared_mlp"), readers=ROUTER),
    llama_like(
        "mimo_v2_flash",
        ATTENTION,
        DENSE,
        EXPERTS,
        readers=(*ROUTER, "layers.{layer}.self_attn.attention_sink_bias"),
    ),
    llama_like(
        "cohere2_moe",
        *BIASED_ATTENTION,
        DENSE,
        EXPERTS,
        shared("shared_experts", "num_shared_experts", assumed=False),
        readers=ROUTER,
        tied_by_default=True,
    ),
    llama_like(
        "afmoe",
        *with_bias(_POST_ATTENTION, "attention_bias"),
        *(
            behind(row, "post_mlp_layernorm")
            for row in (DENSE, EXPERTS, shared("shared_experts", "num_shared_experts"))
        ),
        readers=(
            *ROUTER,
            "layers.{layer}.{pre|post}_mlp_layernorm.weight",
            "layers.{layer}.self_attn.gate_proj.weight",
        ),
        sites=Sites("post_attention_layernorm", "post_mlp_layernorm"),
    ),
    llama_like(
        "flex_olmo",
        *with_bias(_POST_ATTENTION, "attention_bias"),
        behind(EXPERTS, "post_feedforward_layernorm"),
        readers=(*ROUTER, *_POST_FEEDFORWARD),
        sites=POST_NORM_SITES,
    ),
    llama_like(
        "gpt_oss",
        *with_bias(ATTENTION, "attention_bias", assumed=True),
        WriterRow("layers.{layer}.mlp.experts.down_proj", "mlp_out", 2, fused=True),
        WriterRow("layers.{layer}.mlp.experts.down_proj_bias", "mlp_out", 1, bias=True, fused=True),
        readers=(
            "layers.{layer}.self_attn.sinks",
            "layers.{layer}.mlp.router.{weight|bias}",
            "layers.{layer}.mlp.experts.{gate_up_proj|gate_up_proj_bias}",
        ),
    ),
    llama_like(
        "llama4_text",
        *BIASED_ATTENTION,
        WriterRow(
            "layers.{layer}.feed_forward.experts.down_proj", "mlp_out", 2, fused=True, kind="mlp:sparse"
        ),
        WriterRow(
            "layers.{layer}.feed_forward.shared_expert.down_proj.weight", "mlp_out", 0, kind="mlp:sparse"
        ),
        WriterRow("layers.{layer}.feed_forward.down_proj.weight", "mlp_out", 0, kind="mlp:dense"),
        readers=(
            "layers.{layer}.feed_forward.router.weight",
            "layers.{layer}.feed_forward.experts.gate_up_proj",
            "layers.{layer}.feed_forward.{shared_expert.gate|shared_expert.up|gate|up}_proj.weight",
        ),
        sites=Sites(mlp_out="feed_forward", blocks="model.layers"),
    ),
    llama_like(
        "aria_text",
        *BIASED_ATTENTION,
        WriterRow("layers.{layer}.mlp.experts.fc2.weight", "mlp_out", 2, fused=True),
        replace(SHARED, kind=None),
        bias_of(replace(SHARED, kind=None), "mlp_bias"),
        readers=(*ROUTER, "layers.{layer}.mlp.experts.fc1.weight"),
    ),
    llama_like(
        "granitemoe",
        *BIASED_ATTENTION,
        _OUTPUT_LINEAR,
        readers=_GRANITE,
        sites=Sites(mlp_out="block_sparse_moe"),
    ),
    llama_like(
        "granitemoeshared",
        *BIASED_ATTENTION,
        _OUTPUT_LINEAR,
        _SHARED_MLP,
        readers=_GRANITE,
        sites=_GRANITE_SITES,
    ),
    llama_like(
        "granitemoe_swa",
        *BIASED_ATTENTION,
        WriterRow("layers.{layer}.block_sparse_moe.experts.down_proj", "mlp_out", 1, fused=True),
        _SHARED_MLP,
        readers=(*_GRANITE, "layers.{layer}.block_sparse_moe.experts.gate_up_proj"),
        tied_by_default=True,
        sites=_GRANITE_SITES,
    ),
    llama_like(
        "jetmoe",
        WriterRow(
            "layers.{layer}.self_attention.experts.output_linear.weight", "attention_out", 1, fused=True
        ),
        WriterRow("layers.{layer}.self_attention.experts.bias", "attention_out", 0, bias=True),
        WriterRow("layers.{layer}.mlp.output_linear.weight", "mlp_out", 1, fused=True),
        WriterRow("layers.{layer}.mlp.bias", "mlp_out", 0, bias=True),
        readers=(
            "layers.{layer}.{self_attention.experts|mlp}.{input_linear|router.layer}.weight",
            "layers.{layer}.self_attention.kv_proj.weight",
        ),
        tied_by_default=True,
        sites=Sites("self_attention"),
    ),
)
