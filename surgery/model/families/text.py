"""Text towers that exist only inside a model that sees or hears; `towers` says what is beside them.

Most are a known family under another name. In Llama 3.2 Vision some layers attend to the image instead of the
text: cross_attn.o_proj writes there, behind a gate of one number. Qwen3-VL's experts lie in one tensor a
layer, and either way round: the loader turns them over by their shape. ERNIE 4.5 VL keeps two sets of
experts, those of words first and those of images behind them under the next numbers. GLM 5 Next keeps several
streams, as the families in `streams` do. Diffusion Gemma runs the same blocks as encoder and as decoder; what
it adds of its last guess passes a norm without a gain.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.gemma4 import GEMMA4_TEXT
from surgery.model.families.parts import (
    ATTENTION,
    BIASED,
    BIASED_ATTENTION,
    DEEPSEEK,
    DELTA_READERS,
    DENSE,
    EXPERTS,
    GATED_SHARED,
    GLM4_SITES,
    INDEXER,
    LATENT,
    MLP,
    MLP_BIAS,
    PLAIN,
    POST_NORM_SITES,
    ROUTED,
    ROUTER,
    behind,
    bias_of,
    llama_like,
)
from surgery.model.families.postnorm import GLM4, GLM4_NORMS
from surgery.model.families.table import Family, Need, Sites, WriterRow

COSMOS3_EDGE_TEXT = llama_like(
    "cosmos3_edge_text",
    WriterRow("layers.{layer}.self_attn.to_out.weight", "attention_out", 0),
    MLP,
    readers=("layers.{layer}.self_attn.{to_q|to_k|to_v|norm_q|norm_k}.weight",),
)

FAMILIES = (
    COSMOS3_EDGE_TEXT,
    replace(
        GEMMA4_TEXT,
        model_types=("diffusion_gemma_text",),
        writers=(
            *GEMMA4_TEXT.writers[:3],
            *(
                replace(row, gain=row.gain and replace(row.gain, assumed=True), needs=None)
                for row in GEMMA4_TEXT.writers[3:5]
            ),
            WriterRow("self_conditioning.down_proj.weight", "embedding", 0),
        ),
        readers=(*GEMMA4_TEXT.readers, "self_conditioning.{pre_norm|gate_proj|up_proj}.weight"),
        prefixes=("model.decoder.",),
    ),
    Family(
        ("molmo2_text",),
        (
            WriterRow("wte.embedding", "embedding", 1),
            WriterRow("wte.new_embedding", "embedding", 1),
            WriterRow("blocks.{layer}.self_attn.attn_out.weight", "attention_out", 0),
            WriterRow("blocks.{layer}.mlp.ff_out.weight", "mlp_out", 0),
        ),
        (
            "ln_f.weight",
            "blocks.{layer}.{attn_norm|ff_norm|self_attn.q_norm|self_attn.k_norm}.weight",
            "blocks.{layer}.self_attn.att_proj.{weight|bias}",
            "blocks.{layer}.mlp.ff_proj.weight",
        ),
        prefixes=("model.transformer.",),
        needs=(
            Need("norm_after", False, "its norms then stand behind the sublayers; no table is made for that"),
        ),
    ),
    Family(
        ("mistral_large4_text",),
        (
            WriterRow("tok_embeddings.weight", "embedding", 1),
            WriterRow("layers.{layer}.attention.wo.weight", "attention_out", 0),
            WriterRow("layers.{layer}.feed_forward.w2.weight", "mlp_out", 0, kind="mlp:dense"),
            WriterRow("layers.{layer}.experts.{expert}.w2.weight", "mlp_out", 0, kind="mlp:sparse"),
            WriterRow("layers.{layer}.shared_experts.w2.weight", "mlp_out", 0, kind="mlp:sparse"),
        ),
        (
            "norm.weight",
            "lerope.alpha",
            "layers.{layer}.{attention_norm|ffn_norm|gate}.weight",
            "layers.{layer}.gate.{e_score_correction_bias|bias}",
            "layers.{layer}.attention.{wq|wkv_a_with_mqa|wkv_b|kv_a_norm}.weight",
            "layers.{layer}.attention.{ssmax_scaling|indexer.ssmax_scaling}.{b|s}",
            "layers.{layer}.attention.indexer.{k_norm|q_input_norm|weights_proj|wk|wq_b}.{weight|bias}",
            "layers.{layer}.{feed_forward|shared_experts}.{w1|w3}.weight",
            "layers.{layer}.experts.{expert}.{w1|w3}.weight",
        ),
        prefixes=("",),
        unembedding=("output.weight",),
    ),
    *(
        llama_like(name, *PLAIN)
        for name in ("emu3_text_model", "qwen2_vl_text", "qwen2_5_vl_text", "qwen2_5_omni_text")
    ),
    *(llama_like(name, *BIASED, MLP_BIAS) for name in ("granite_docling_text", "granite4_vision_text")),
    *(llama_like(name, *ROUTED, readers=ROUTER) for name in ("deepseek_ocr2_text", "unlimited_ocr_text")),
    *(
        llama_like(name, *GLM4, readers=GLM4_NORMS, sites=GLM4_SITES)
        for name in ("glm4v_text", "glm_ocr_text")
    ),
    llama_like(
        "glm5_next_text",
        *ROUTED,
        readers=(
            *LATENT,
            *INDEXER,
            "layers.{layer}.hc_{attn|ffn}_{base|fn|scale}",
            "layers.{layer}.self_attn.indexer.index_kpool_compress_{ape|gate}",
            *DELTA_READERS,
        ),
    ),
    llama_like(
        "muse_glimmer_text",
        behind(ATTENTION, "post_attention_layernorm", offset=1.0),
        behind(MLP, "post_feedforward_layernorm", offset=1.0),
        readers=(
            "layers.{layer}.{pre|post}_feedforward_layernorm.weight",
            "layers.{layer}.self_attn.gate_proj.weight",
        ),
        sites=POST_NORM_SITES,
    ),
    llama_like("hunyuan_vl_text", *BIASED, tied_by_default=True),
    llama_like(
        "ernie4_5_vl_moe_text",
        *(row for row in ROUTED if not row.bias),
        WriterRow("layers.{layer}.mlp.experts.{index}.down_proj.weight", "mlp_out", 0, optional=True),
        readers=(
            *ROUTER,
            "layers.{layer}.mlp.gate.weight_1",
            "layers.{layer}.mlp.experts.{index}.{gate|up}_proj.weight",
        ),
        tied_by_default=True,
    ),
    llama_like("qwen3_vl_text", *BIASED),
    llama_like(
        "qwen3_vl_moe_text",
        *BIASED_ATTENTION,
        DENSE,
        WriterRow(
            "layers.{layer}.mlp.experts.down_proj", "mlp_out", 1, fused=True, kind="mlp:sparse", turned_axis=2
        ),
        readers=(*ROUTER, "layers.{layer}.mlp.experts.gate_up_proj"),
    ),
    llama_like("qwen3_omni_moe_text", *BIASED_ATTENTION, DENSE, EXPERTS, readers=(*ROUTER, *GATED_SHARED)),
    llama_like("glm4v_moe_text", *(row for row in DEEPSEEK if not row.bias), readers=ROUTER),
    llama_like("paddleocr_vl_text", *PLAIN, bias_of(ATTENTION, "use_bias"), bias_of(MLP, "use_bias")),
    llama_like(
        "mllama_text_model",
        replace(ATTENTION, kind="mixer:attention"),
        WriterRow("layers.{layer}.cross_attn.o_proj.weight", "attention_out", 0, kind="mixer:cross"),
        MLP,
        readers=(
            "layers.{layer}.cross_attn.{q_proj|k_proj|v_proj|q_norm|k_norm}.weight",
            "layers.{layer}.{cross_attn_attn_gate|cross_attn_mlp_gate}",
        ),
        sites=Sites("self_attn|cross_attn"),
    ),
    llama_like(
        "step3p5",
        ATTENTION,
        DENSE,
        WriterRow("layers.{layer}.moe.down_proj.weight", "mlp_out", 1, fused=True, kind="mlp:sparse"),
        WriterRow("layers.{layer}.share_expert.down_proj.weight", "mlp_out", 0, kind="mlp:sparse"),
        readers=(
            "layers.{layer}.self_attn.g_proj.weight",
            "layers.{layer}.moe.{gate.weight|gate_proj.weight|up_proj.weight|router_bias}",
            "layers.{layer}.share_expert.{gate|up}_proj.weight",
        ),
    ),
)
