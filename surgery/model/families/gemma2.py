"""Gemma 2 and 3: an RMSNorm stands between each sublayer and the stream.

    h ← √d_model · embed_tokens[token] h ← h + post_attention_layernorm(o_proj(attention(input_layernorm(h))))
    h ← h + post_feedforward_layernorm(down_proj(act(gate) ∘ up)),   gate and up from
    pre_feedforward_layernorm(h)

Their norms multiply by 1 + weight, so o_proj, its bias and down_proj are projected with (1 + weight)∘r. The
embedding passes no norm and is projected with r. In the multimodal Gemma 3 the image projector also writes
embeddings, those of the image's positions; it is a plain parameter used as x @ W, so its residual axis is 1.
"""

from __future__ import annotations

from surgery.model.families.table import Family, Gain, WriterRow

_AFTER_ATTENTION = Gain("layers.{layer}.post_attention_layernorm.weight", offset=1.0)
_AFTER_MLP = Gain("layers.{layer}.post_feedforward_layernorm.weight", offset=1.0)

_WRITERS = (
    WriterRow("embed_tokens.weight", "embedding", 1),
    WriterRow("layers.{layer}.self_attn.o_proj.weight", "attention_out", 0, gain=_AFTER_ATTENTION),
    WriterRow(
        "layers.{layer}.self_attn.o_proj.bias",
        "attention_out",
        0,
        gain=_AFTER_ATTENTION,
        bias=True,
        needs="attention_bias",
    ),
    WriterRow("layers.{layer}.mlp.down_proj.weight", "mlp_out", 0, gain=_AFTER_MLP),
)
_READERS = (
    "norm.weight",
    "layers.{layer}.input_layernorm.weight",
    "layers.{layer}.post_attention_layernorm.weight",
    "layers.{layer}.pre_feedforward_layernorm.weight",
    "layers.{layer}.post_feedforward_layernorm.weight",
    *(f"layers.{{layer}}.self_attn.{part}_proj.weight" for part in "qkv"),
    *(f"layers.{{layer}}.self_attn.{part}_proj.bias" for part in "qkv"),
    "layers.{layer}.mlp.gate_proj.weight",
    "layers.{layer}.mlp.up_proj.weight",
)
_QK_NORM = ("layers.{layer}.self_attn.q_norm.weight", "layers.{layer}.self_attn.k_norm.weight")

GEMMA2 = Family(
    name="gemma2",
    model_types=("gemma2",),
    writers=_WRITERS,
    readers=_READERS,
    tied_by_default=True,
)

GEMMA3_TEXT = Family(
    name="gemma3_text",
    model_types=("gemma3_text",),
    writers=_WRITERS,
    readers=(*_READERS, *_QK_NORM),
    tied_by_default=True,
)

FAMILIES = (GEMMA2, GEMMA3_TEXT)
