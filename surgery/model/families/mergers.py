"""Mergers: what makes one embedding of the stream out of several neighbouring patches."""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.convolved import INKLING_MM_TEXT
from surgery.model.families.table import Gain
from surgery.model.families.text import COSMOS3_EDGE_TEXT
from surgery.model.families.towers import Tower, linear, vector

_DEEPSTACK = linear("visual.deepstack_merger_list.{index}.linear_fc2")
_MERGER = linear("visual.merger.linear_fc2")
_MERGER_MLP = linear("visual.merger.mlp.2")

_PERCEIVED = Gain("vit.perceive.after_rms.weight", 0.0)
_CONNECTED = "model.vision_model.connector.ln_out"
_SPEECH = ("talker.", "code2wav.")

TOWERS = (
    Tower(("qwen3_vl", "qwen3_vl_moe", "cohere_compass"), (*_MERGER, *_DEEPSTACK), text="qwen3_vl_text"),
    Tower(
        ("qwen3_5", "qwen3_5_moe"),
        (*_MERGER, *(replace(row, optional=True) for row in _DEEPSTACK)),
        text="qwen3_5_text",
    ),
    Tower(("qwen4_exp",), _MERGER, text="qwen4_exp_text"),
    Tower(("qwen2_vl", "qwen2_5_vl", "exaone4_5"), _MERGER_MLP, text="qwen2_vl_text"),
    Tower(
        ("qwen2_5_omni_thinker",),
        (*_MERGER_MLP, *linear("audio_tower.proj")),
        text="qwen2_5_omni_text",
        foreign=_SPEECH,
        alone=("audio_tower.proj",),
    ),
    Tower(
        ("qwen3_omni_moe_thinker",),
        (*_MERGER_MLP, *linear("visual.merger_list.{index}.mlp.2"), *linear("audio_tower.proj2")),
        text="qwen3_omni_moe_text",
        foreign=_SPEECH,
        alone=("audio_tower.proj2",),
    ),
    Tower(
        ("glm4v", "glm46v", "glmga", "glm4v_moe", "glm_ocr"),
        linear("visual.merger.down_proj"),
        text="glm4v_text",
    ),
    Tower(
        ("lighton_ocr",),
        linear("vision_projection.linear_2"),
        ("{model.|}vision_projection.{norm|patch_merger.merging_layer|linear_1}.weight",),
        text="qwen3",
    ),
    Tower(
        ("minicpm_ocr", "minicpmv4_6", "minicpmv4_7"),
        linear("merger.mlp.{index}.linear_2"),
        (
            "{model.|}merger.mlp.{index}.pre_norm.{weight|bias}",
            "{model.|}merger.mlp.{index}.linear_1.{weight|bias}",
        ),
        text="qwen3_5_text",
        foreign=("merger.",),
    ),
    Tower(("ovis2",), linear("visual_embeddings_table", 1), text="qwen2"),
    Tower(
        ("paddleocr_vl",),
        linear("mlp_AR.linear_2"),
        ("mlp_AR.{pre_norm|linear_1}.{weight|bias}",),
        text="paddleocr_vl_text",
    ),
    Tower(("hyperclovax_vision_v2",), linear("vision_projector"), text="hyperclovax"),
    Tower(("step3p7",), linear("vit_large_projector"), text="step3p5"),
    Tower(("fuyu",), linear("vision_embed_tokens"), text="persimmon"),
    Tower(
        ("dots3_note",),
        (*linear("vision_encoder.adapter.mlp.2"), *linear("audio_encoder.audio_adapter.proj.3")),
        text="dots3_note_text",
        alone=("adapter",),
        foreign=("audio_encoder.",),
    ),
    Tower(("glm5_next",), linear("visual.merger.down_proj"), text="glm5_next_text"),
    Tower(
        ("mistral_large4",),
        linear("vision_language_adapter.w_out"),
        (
            "vision_language_adapter.w_in.{weight|bias}",
            "{pre_mm_projector_norm|patch_merger.merging_layer}.weight",
        ),
        text="mistral_large4_text",
    ),
    Tower(
        ("molmo2",),
        linear("vision_backbone.image_projector.w2"),
        text="molmo2_text",
        alone=("image_projector",),
        foreign=("vision_backbone.",),
    ),
    Tower(
        ("muse_glimmer",),
        linear("vision_projection"),
        text="muse_glimmer_text",
        alone=("vision_projection",),
        foreign=("vision_adapter.",),
    ),
    Tower(
        ("hunyuan_vl",),
        (
            *linear("vit.perceive.mlp", gain=_PERCEIVED),
            *(
                replace(vector("vit.perceive." + name), gain=_PERCEIVED)
                for name in ("image_begin", "image_end")
            ),
        ),
        text="hunyuan_vl_text",
        foreign=("vit.",),
    ),
    Tower(
        ("ernie4_5_vl_moe",),
        linear("resampler_model.mlp", gain=Gain("model.resampler_model.after_norm.weight", 0.0)),
        (
            "{model.|}resampler_model.after_norm.weight",
            "{model.|}resampler_model.{spatial_linear|temporal_linear}.{index}.{weight|bias}",
        ),
        text="ernie4_5_vl_moe_text",
    ),
    Tower(
        ("granite_docling",),
        (
            *linear("vision_model.connector.mlp_fc2", gain=Gain(_CONNECTED + ".weight", 0.0, centred=True)),
            vector("vision_model.connector.ln_out.bias"),
            *linear("vision_model.connector.{coarse|fine}.deepstack_mergers.{index}.linear_2"),
        ),
        text="granite_docling_text",
        alone=("deepstack_mergers.0",),
    ),
    Tower(
        ("cosmos3_omni",),
        (*linear("merger.linear_fc2"), *linear("deepstack_merger_list.{index}.linear_fc2")),
        own=COSMOS3_EDGE_TEXT,
        foreign=("patch_embed.", "pos_embed.", "blocks.", "merger.", "deepstack_merger_list."),
    ),
    Tower(
        ("inkling_mm_model",),
        (
            *linear("visual.layers.linear_23", gain=Gain("model.visual.final_norm.weight", 0.0)),
            *linear("audio.encoder", 1, gain=Gain("model.audio.final_norm.weight", 0.0)),
        ),
        own=INKLING_MM_TEXT,
        foreign=("audio.",),
    ),
    Tower(("inkling2",), linear("visual.proj_out"), text="inkling2_text", alone=("merger",)),
    Tower(
        ("kimi_k25",),
        linear("mm_projector.proj.2"),
        ("{model.|}mm_projector.{pre_norm|proj.0}.{weight|bias}",),
        text="deepseek_v3",
    ),
    Tower(("qianfan_ocr",), linear("mlp1.3"), ("mlp1.{0|1}.{weight|bias}",), text="qwen3"),
)
