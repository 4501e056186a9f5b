"""Gemma 4: norms between each sublayer and the stream, two of them one behind the other where there are
experts, and a third writer that brings each layer's own embedding in.

    h ← h + n_a(o_proj(attention));   h ← h + n_m(down_proj(mlp))
    h ← h + n_m(n_1(down_proj(mlp)) + n_2(Σ_e p_e · experts_e))
    h ← h + n_p(per_layer_projection(gate(h) ∘ e_l))

The gain of a norm is its weight, so behind two norms a writer is projected with g_1∘g_m∘r. Each block then
multiplies the stream by one number, layer_scalar, which changes nothing for a projection. The embedding of a
layer and what projects the stream into it are read by the gate's product; only per_layer_projection writes.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.parts import ATTENTION, EMBEDDING, MLP, READERS, behind, with_bias
from surgery.model.families.table import Family, Gain, Sites, WriterRow

_AFTER_MLP = Gain("layers.{layer}.post_feedforward_layernorm.weight", 0.0)


def _first(number: int, flag: str | None = None) -> Gain:
    tensor = f"layers.{{layer}}.post_feedforward_layernorm_{number}.weight"
    return Gain(tensor, 0.0, flag, then=_AFTER_MLP, assumed=False)


WRITERS = (
    EMBEDDING,
    *with_bias(behind(ATTENTION, "post_attention_layernorm"), "attention_bias"),
    replace(MLP, gain=_first(1, "enable_moe_block")),
    WriterRow(
        "layers.{layer}.experts.down_proj", "mlp_out", 1, gain=_first(2), needs="enable_moe_block", fused=True
    ),
    WriterRow(
        "layers.{layer}.per_layer_projection.weight",
        "embedding",
        0,
        gain=Gain("layers.{layer}.post_per_layer_input_norm.weight", 0.0),
        needs="hidden_size_per_layer_input",
    ),
)
GEMMA4_READERS = (
    *READERS,
    "layers.{layer}.layer_scalar",
    "layers.{layer}.{pre|post}_feedforward_layernorm.weight",
    "layers.{layer}.{pre_feedforward_layernorm_2|post_feedforward_layernorm_1}.weight",
    "layers.{layer}.{post_feedforward_layernorm_2|post_per_layer_input_norm}.weight",
    "layers.{layer}.per_layer_input_gate.weight",
    "layers.{layer}.router.{scale|per_expert_scale|proj.weight}",
    "layers.{layer}.experts.gate_up_proj",
    "layers.{layer}.self_attn.v_norm.weight",
    "embed_tokens_per_layer.weight",
    "per_layer_model_projection.weight",
    "per_layer_projection_norm.weight",
)

GEMMA4_TEXT = Family(
    model_types=("gemma4_text",),
    writers=WRITERS,
    readers=GEMMA4_READERS,
    tied_by_default=True,
    sites=Sites("post_attention_layernorm", "post_feedforward_layernorm+post_per_layer_input_norm"),
)

FAMILIES = (
    GEMMA4_TEXT,
    replace(
        GEMMA4_TEXT,
        model_types=("gemma4_unified_text",),
        writers=(*WRITERS[:3], replace(MLP, gain=_AFTER_MLP)),
    ),
)
