"""Llama and the families that write as it does: the embedding, o_proj and down_proj add to the stream with
nothing between.

    h ← embed_tokens[token]
    h ← h + o_proj(attention(norm(h)))
    h ← h + down_proj(act(gate_proj(norm h)) ∘ up_proj(norm h))

Linear weights are (out, in) on disk, so the residual axis of o_proj and down_proj is 0, also where o_proj is
square. Gemma 1 multiplies the embedding by √d_model, a scalar, which changes nothing for a projection.
"""

from __future__ import annotations

from surgery.model.families.table import Family, WriterRow

_EMBEDDING = WriterRow("embed_tokens.weight", "embedding", 1)
_ATTENTION = WriterRow("layers.{layer}.self_attn.o_proj.weight", "attention_out", 0)
_ATTENTION_BIAS = WriterRow(
    "layers.{layer}.self_attn.o_proj.bias", "attention_out", 0, bias=True, needs="attention_bias"
)
_MLP = WriterRow("layers.{layer}.mlp.down_proj.weight", "mlp_out", 0)
_MLP_BIAS = WriterRow("layers.{layer}.mlp.down_proj.bias", "mlp_out", 0, bias=True, needs="mlp_bias")

_NORMS = (
    "norm.weight",
    "layers.{layer}.input_layernorm.weight",
    "layers.{layer}.post_attention_layernorm.weight",
)
_QKV = tuple(f"layers.{{layer}}.self_attn.{part}_proj.weight" for part in "qkv")
_QKV_BIAS = tuple(f"layers.{{layer}}.self_attn.{part}_proj.bias" for part in "qkv")
_QK_NORM = ("layers.{layer}.self_attn.q_norm.weight", "layers.{layer}.self_attn.k_norm.weight")
_GATE_UP = ("layers.{layer}.mlp.gate_proj.weight", "layers.{layer}.mlp.up_proj.weight")
_GATE_UP_BIAS = ("layers.{layer}.mlp.gate_proj.bias", "layers.{layer}.mlp.up_proj.bias")
# Old conversions stored the rotary frequencies, a constant that loaders recompute.
_ROTARY = ("layers.{layer}.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq")

LLAMA = Family(
    name="llama",
    model_types=("llama",),
    writers=(_EMBEDDING, _ATTENTION, _ATTENTION_BIAS, _MLP, _MLP_BIAS),
    readers=(*_NORMS, *_QKV, *_QKV_BIAS, *_GATE_UP, *_GATE_UP_BIAS, *_ROTARY),
)

MISTRAL = Family(
    name="mistral",
    model_types=("mistral",),
    writers=(_EMBEDDING, _ATTENTION, _MLP),
    readers=(*_NORMS, *_QKV, *_GATE_UP, *_ROTARY),
)

QWEN2 = Family(
    name="qwen2",
    model_types=("qwen2",),
    writers=(_EMBEDDING, _ATTENTION, _MLP),  # a bias on q, k and v only
    readers=(*_NORMS, *_QKV, *_QKV_BIAS, *_GATE_UP, *_ROTARY),
)

QWEN3 = Family(
    name="qwen3",
    model_types=("qwen3",),
    writers=(_EMBEDDING, _ATTENTION, _ATTENTION_BIAS, _MLP),
    readers=(*_NORMS, *_QKV, *_QKV_BIAS, *_QK_NORM, *_GATE_UP, *_ROTARY),
)

PHI3 = Family(
    name="phi3",
    model_types=("phi3",),
    writers=(_EMBEDDING, _ATTENTION, _MLP),
    readers=(
        *_NORMS,
        "layers.{layer}.self_attn.qkv_proj.weight",
        "layers.{layer}.mlp.gate_up_proj.weight",
        *_ROTARY,
    ),
)

GEMMA = Family(
    name="gemma",
    model_types=("gemma",),
    writers=(_EMBEDDING, _ATTENTION, _ATTENTION_BIAS, _MLP),
    readers=(*_NORMS, *_QKV, *_QKV_BIAS, *_GATE_UP, *_ROTARY),
    tied_by_default=True,
)

FAMILIES = (LLAMA, MISTRAL, QWEN2, QWEN3, PHI3, GEMMA)
