"""Text towers that exist only inside a model that sees or hears; `towers` says what is beside them.

Most are a known family under another name. In Llama 3.2 Vision some layers attend to the image instead of the
text: cross_attn.o_proj writes there, behind a gate of one number. Qwen3-VL's experts lie in one tensor a
layer, and either way round: the loader turns them over by their shape.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.experts import DEEPSEEK, GATED_SHARED, LATENT, NEXTN, ROUTER
from surgery.model.families.parts import ATTENTION, MLP, behind, bias_of, llama_like
from surgery.model.families.table import WriterRow

_PLAIN = (ATTENTION, MLP)
_ATTENTION_BIAS = bias_of(ATTENTION, "attention_bias")
_DENSE = replace(MLP, kind="mlp:dense")
_EXPERTS = WriterRow("layers.{layer}.mlp.experts.{expert}.down_proj.weight", "mlp_out", 0, kind="mlp:sparse")
_TURNED = WriterRow(
    "layers.{layer}.mlp.experts.down_proj", "mlp_out", 1, fused=True, kind="mlp:sparse", turned_axis=2
)
_GLM = (behind(ATTENTION, "post_self_attn_layernorm"), behind(MLP, "post_mlp_layernorm"))
_GLM_NORMS = ("layers.{layer}.post_{self_attn|mlp}_layernorm.weight",)
_CROSS = WriterRow("layers.{layer}.cross_attn.o_proj.weight", "attention_out", 0, kind="mixer:cross")
_CROSS_READERS = (
    "layers.{layer}.cross_attn.{q_proj|k_proj|v_proj|q_norm|k_norm}.weight",
    "layers.{layer}.{cross_attn_attn_gate|cross_attn_mlp_gate}",
)
_FUSED = WriterRow("layers.{layer}.mlp.experts.down_proj", "mlp_out", 1, fused=True, kind="mlp:sparse")
_SHARED = WriterRow("layers.{layer}.mlp.shared_experts.down_proj.weight", "mlp_out", 0, kind="mlp:sparse")
_STEP = (
    ATTENTION,
    _DENSE,
    WriterRow("layers.{layer}.moe.down_proj.weight", "mlp_out", 1, fused=True, kind="mlp:sparse"),
    WriterRow("layers.{layer}.share_expert.down_proj.weight", "mlp_out", 0, kind="mlp:sparse"),
)
_STEP_READERS = (
    "layers.{layer}.self_attn.g_proj.weight",
    "layers.{layer}.moe.{gate.weight|gate_proj.weight|up_proj.weight|router_bias}",
    "layers.{layer}.share_expert.{gate|up}_proj.weight",
)

FAMILIES = (
    llama_like("emu3_text_model", *_PLAIN),
    llama_like("qwen2_vl_text", *_PLAIN),
    llama_like("qwen2_5_vl_text", *_PLAIN),
    llama_like("qwen2_5_omni_text", *_PLAIN),
    llama_like("qwen3_vl_text", *_PLAIN, _ATTENTION_BIAS),
    llama_like(
        "qwen3_vl_moe_text",
        ATTENTION,
        _ATTENTION_BIAS,
        _DENSE,
        _TURNED,
        readers=(*ROUTER, "layers.{layer}.mlp.experts.gate_up_proj"),
    ),
    llama_like(
        "qwen3_omni_moe_text", ATTENTION, _ATTENTION_BIAS, _DENSE, _EXPERTS, readers=(*ROUTER, *GATED_SHARED)
    ),
    llama_like("glm4v_text", *_GLM, readers=_GLM_NORMS),
    llama_like("glm_ocr_text", *_GLM, readers=_GLM_NORMS),
    llama_like("glm4v_moe_text", *(row for row in DEEPSEEK if not row.bias), readers=ROUTER, drafts=NEXTN),
    llama_like("paddleocr_vl_text", *_PLAIN, bias_of(ATTENTION, "use_bias"), bias_of(MLP, "use_bias")),
    llama_like(
        "mllama_text_model", replace(ATTENTION, kind="mixer:attention"), _CROSS, MLP, readers=_CROSS_READERS
    ),
    llama_like("step3p5", *_STEP, readers=_STEP_READERS, drafts=NEXTN),
    llama_like(
        "mistral4",
        ATTENTION,
        _ATTENTION_BIAS,
        _DENSE,
        _FUSED,
        _SHARED,
        readers=(*LATENT, "layers.{layer}.mlp.experts.gate_up_proj"),
    ),
)
