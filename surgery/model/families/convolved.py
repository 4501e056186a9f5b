"""Families in which a short convolution over positions stands between each sublayer and the stream.

    h_t ← h_t + y_t + Σ_j c_j∘y_{t−j},   y = W·x

Each position back has its own number for each coordinate, so a direction leaves the stream when every c_j∘r
leaves W, and (1 + c_0)∘r with them: as many rows as the convolution is long, four here. Inkling 2 divides the
sum by a constant, and its blocks read a mean of the stream at earlier blocks, weighted by one number each,
which is clear where they are.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.parts import ATTENTION, EMBEDDING, FUSED, MLP, READERS
from surgery.model.families.table import Family, Gain, Sites, WriterRow


def _through(name: str) -> Gain:
    return Gain(f"layers.{{layer}}.{name}.weight", 1.0, taps=True)


_AFTER_MLP = _through("mlp_sconv.conv1d")

INKLING2_TEXT = Family(
    ("inkling2_text",),
    (
        WriterRow("embed.weight", "embedding", 1, gain=Gain("embed_norm.weight", 0.0)),
        WriterRow("layers.{layer}.attn.wo_ud.weight", "attention_out", 0, gain=_through("attn_sconv")),
        WriterRow(
            "layers.{layer}.mlp.experts.w2_weight", "mlp_out", 1, fused=True, gain=_through("mlp_sconv")
        ),
    ),
    (
        "{norm|embed_norm}.weight",
        "attn_res.{attn_queries|mlp_queries}.{index}",
        "attn_res.output_query",
        "layers.{layer}.{attn_norm|mlp_norm|attn_sconv|mlp_sconv}.weight",
        "layers.{layer}.{q|k|v}_input_norm.weight",
        "layers.{layer}.attn.{attn_sink_proj|gate_attn|k_sconv|v_sconv|wk_dv|wq_du|wr_du|wv_dv}.weight",
        "layers.{layer}.attn.{k|v}_sconv.{static_w|weight_proj}",
        "layers.{layer}.attn.{q_l2_clip.scale|rel_l2_clip.scale|rel_logits_proj.proj}",
        "layers.{layer}.mlp.experts.w13_weight",
        "layers.{layer}.mlp.gate.{weight|bias}",
    ),
    prefixes=("model.llm.",),
    unembedding=("model.llm.unembed.weight",),
    sites=Sites("post_attention_convolution", "post_mlp_convolution"),
)

INKLING_MM_TEXT = replace(
    INKLING2_TEXT,
    model_types=("inkling_text",),
    writers=(
        *INKLING2_TEXT.writers[:2],
        replace(INKLING2_TEXT.writers[2], kind="mlp:sparse"),
        replace(
            INKLING2_TEXT.writers[2],
            pattern="layers.{layer}.mlp.shared_experts.shared_w2_weight",
            kind="mlp:sparse",
        ),
        WriterRow(
            "layers.{layer}.mlp.w2_md.weight", "mlp_out", 0, kind="mlp:dense", gain=_through("mlp_sconv")
        ),
    ),
    readers=(
        *INKLING2_TEXT.readers,
        "layers.{layer}.attn.{q|k}_norm.weight",
        "layers.{layer}.mlp.{gate.global_scale|shared_experts.shared_w13_weight}",
        "layers.{layer}.mlp.{w13_dn.weight|global_scale}",
    ),
)
"""Inkling's text tower with the names of published checkpoints, which only the model that sees has."""

FAMILIES = (
    Family(
        ("inkling_text",),
        (
            replace(EMBEDDING, gain=Gain("embed_tokens.embed_norm.weight", 0.0)),
            replace(ATTENTION, gain=_through("attn_sconv.conv1d")),
            replace(MLP, kind="mlp:dense", gain=_AFTER_MLP),
            replace(FUSED, gain=_AFTER_MLP),
            replace(FUSED, pattern="layers.{layer}.mlp.shared_experts.down_proj", gain=_AFTER_MLP),
        ),
        (
            *READERS,
            "embed_tokens.embed_norm.weight",
            "layers.{layer}.{attn_sconv|mlp_sconv|self_attn.k_sconv|self_attn.v_sconv}.conv1d.weight",
            "layers.{layer}.mlp.gate.{weight|e_score_correction_bias|global_scale}",
            "layers.{layer}.mlp.experts.gate_up_proj",
            "layers.{layer}.mlp.shared_experts.{gate|up}_proj",
            "layers.{layer}.mlp.global_scale",
            "layers.{layer}.self_attn.{r_proj.weight|rel_logits_proj.proj}",
        ),
        sites=Sites("attn_sconv", "mlp_sconv"),
    ),
    INKLING2_TEXT,
)
