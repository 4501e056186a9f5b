"""Models that see or hear: a text tower of a family that is known by itself, and what brings images and
sounds into its stream.

    h ← embed_tokens[token] at the positions of text;   h ← W_p·(vision tower's output) at those of an image

The last matrix of the projector (or merger, connector, aligner) writes embeddings as the embedding itself
does, its bias too; what stands before it, and the tower with a stream of its own, does not. A merger for each
of several layers (DeepStack) is added to the stream later, with nothing between. So a row here names the
projector; the text tower's rows are those of its own family, `text_config` says which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from surgery.model.families.parts import bias_of
from surgery.model.families.table import Family, Gain, WriterRow

FOREIGN = tuple(
    f"{start}{name}"
    for name in (
        "vision_tower.",
        "vision_model.",
        "vision_encoder.",
        "visual.",
        "audio_tower.",
        "video_tower.",
        "image_tower.",
        "audio_encoder.",
        "qformer.",
        "vqmodel.",
        "high_res_vision_",
        "sam_",
        "code2wav.",
        "talker.",
        "embed_tokens_extend.",
        "mtp.",
        "vision_embedder.",
    )
    for start in ("", "model.")
)
"""Starts of names in towers with a stream of their own; a writer's row comes before them."""

PLACES = (
    "language_model.model.",
    "model.language_model.",
    "model.language_model.model.",
    "model.text_model.",
    "text_model.model.",
    "thinker.model.",
)
"""Where checkpoints keep what a text model by itself calls `model.`."""


STARTS = ("", "language_model.", "model.language_model.", "text_model.")
"""Where checkpoints keep what a text model has at its top, its unembedding before all."""


@dataclass(frozen=True)
class Tower:
    """A group of model types with the same projector. `writers` and `readers` have full names, `{model.|}`
    for a beginning that not every checkpoint has; `text` is the family of a config that has no `text_config`.
    `alone` are the ends of names of modules that are run by themselves in the proof: what no random image
    reaches.
    """

    model_types: tuple[str, ...]
    writers: tuple[WriterRow, ...]
    readers: tuple[str, ...] = ()
    text: str = "llama"
    alone: tuple[str, ...] = ()


def _linear(name: str, axis: int = 0, *, gain: Gain | None = None) -> tuple[WriterRow, ...]:
    matrix = WriterRow("{model.|}" + name + ".weight", "embedding", axis, gain=gain)
    return matrix, replace(bias_of(matrix), optional=True)


def _vector(name: str) -> WriterRow:
    return WriterRow("{model.|}" + name, "embedding", 0, bias=True)


_PHI4 = (
    "image_embed.img_projection_down",
    "audio_embed.down_proj_for_speech",
    "audio_embed.down_proj_for_vision_speech",
)
_PROJECTOR = "{model.|}multi_modal_projector."
_LINEAR_2 = _linear("multi_modal_projector.linear_2")
_NEWLINE = _vector("image_newline")
_DEEPSTACK = _linear("visual.deepstack_merger_list.{index}.linear_fc2")
_MERGER = _linear("visual.merger.linear_fc2")
_MERGER_MLP = _linear("visual.merger.mlp.2")
_LINEAR_1 = (_PROJECTOR + "{linear_1|layer_norm|layernorm|projector_layernorm}.{weight|bias}",)
_MERGERS = tuple(replace(row, optional=True) for row in _DEEPSTACK)
_RESAMPLER = "{model.|}connector.perceiver_resampler."
_RESAMPLED = Gain(_RESAMPLER + "norm.weight", 0.0)
_SOFT = WriterRow(_PROJECTOR + "mm_input_projection_weight", "embedding", 1)

TOWERS = (
    Tower(
        (
            "llava",
            "vipllava",
            "video_llava",
            "internvl",
            "aya_vision",
            "cohere2_vision",
            "lfm2_vl",
            "lfm3_vl",
        ),
        _LINEAR_2,
        _LINEAR_1,
    ),
    Tower(
        ("mistral3",),
        _LINEAR_2,
        (*_LINEAR_1, _PROJECTOR + "{norm|patch_merger.merging_layer}.weight"),
        text="mistral",
    ),
    Tower(("llava_next", "llava_next_video", "llava_onevision"), (*_LINEAR_2, _NEWLINE), _LINEAR_1),
    Tower(
        ("aria",),
        _linear("multi_modal_projector.feed_forward.linear_out"),
        (
            _PROJECTOR + "{query|layer_norm.weight|layer_norm.bias|feed_forward.linear_in.weight}",
            _PROJECTOR + "cross_attn.{q_proj|k_proj|v_proj|linear|layer_norm|layer_norm_kv}.{weight|bias}",
            _PROJECTOR + "cross_attn.multihead_attn.{in_proj_weight|in_proj_bias}",
            _PROJECTOR + "cross_attn.multihead_attn.out_proj.{weight|bias}",
        ),
        text="aria_text",
    ),
    Tower(("paligemma",), _linear("multi_modal_projector.linear"), text="gemma"),
    Tower(("blip-2", "instructblip", "instructblipvideo"), _linear("language_projection"), ("query_tokens",)),
    Tower(
        ("qwen3_vl", "qwen3_vl_moe", "cohere_compass"),
        (*_MERGER, *_DEEPSTACK),
        text="qwen3_vl_text",
    ),
    Tower(("qwen3_5", "qwen3_5_moe"), (*_MERGER, *_MERGERS), text="qwen3_5_text"),
    Tower(("qwen2_vl", "qwen2_5_vl", "exaone4_5"), _MERGER_MLP, text="qwen2_vl_text"),
    Tower(
        ("qwen2_5_omni_thinker",),
        (*_MERGER_MLP, *_linear("audio_tower.proj")),
        text="qwen2_5_omni_text",
        alone=("audio_tower.proj",),
    ),
    Tower(
        ("qwen3_omni_moe_thinker",),
        (*_MERGER_MLP, *_linear("visual.merger_list.{index}.mlp.2"), *_linear("audio_tower.proj2")),
        text="qwen3_omni_moe_text",
        alone=("audio_tower.proj2",),
    ),
    Tower(
        ("glm4v", "glm46v", "glmga", "glm4v_moe", "glm_ocr"),
        _linear("visual.merger.down_proj"),
        text="glm4v_text",
    ),
    Tower(("deepseek_vl",), _linear("aligner.linear2"), ("{model.|}aligner.linear1.{weight|bias}",)),
    Tower(
        ("deepseek_vl_hybrid",),
        _linear("aligner.proj"),
        ("{model.|}aligner.{vision_proj|high_res_vision_proj}.{weight|bias}",),
        alone=("aligner.proj",),
    ),
    Tower(
        ("got_ocr2", "pp_chart2table"),
        _linear("multi_modal_projector.multimodal_projector"),
        (_PROJECTOR + "{conv_upsampler1|conv_upsampler2}.weight",),
        text="qwen2",
    ),
    Tower(("gemma3",), (_SOFT,), (_PROJECTOR + "mm_soft_emb_norm.weight",), text="gemma3_text"),
    Tower(
        ("gemma4", "gemma4_unified"),
        (
            WriterRow("{model.|}embed_vision.embedding_projection.weight", "embedding", 0, optional=True),
            WriterRow("{model.|}embed_audio.embedding_projection.weight", "embedding", 0, optional=True),
        ),
        text="gemma4_text",
        alone=("embed_vision", "embed_audio"),
    ),
    Tower(
        ("idefics2",),
        tuple(
            replace(row, gain=_RESAMPLED)
            for row in (
                WriterRow(_RESAMPLER + "latents", "embedding", 1),
                WriterRow(_RESAMPLER + "layers.{index}.self_attn.o_proj.weight", "embedding", 0),
                WriterRow(_RESAMPLER + "layers.{index}.mlp.down_proj.weight", "embedding", 0),
            )
        ),
        (
            "{model.|}connector.modality_projection.{gate_proj|up_proj|down_proj}.weight",
            _RESAMPLER + "norm.weight",
            _RESAMPLER
            + "layers.{index}.{input_latents|input_context|post_attention}_{norm|layernorm}.weight",
            _RESAMPLER + "layers.{index}.self_attn.{q|k|v}_proj.weight",
            _RESAMPLER + "layers.{index}.mlp.{gate|up}_proj.weight",
        ),
        text="mistral",
    ),
    Tower(("emu3",), (), text="emu3_text_model"),
    Tower(("idefics3", "smolvlm"), _linear("connector.modality_projection.proj")),
    Tower(
        ("lighton_ocr",),
        _linear("vision_projection.linear_2"),
        ("{model.|}vision_projection.{norm|patch_merger.merging_layer|linear_1}.weight",),
        text="qwen3",
    ),
    Tower(("llama4",), _linear("multi_modal_projector.linear_1"), text="llama4_text"),
    Tower(
        ("minicpm_ocr", "minicpmv4_6", "minicpmv4_7"),
        _linear("merger.mlp.{index}.linear_2"),
        (
            "{model.|}merger.mlp.{index}.pre_norm.{weight|bias}",
            "{model.|}merger.mlp.{index}.linear_1.{weight|bias}",
        ),
        text="qwen3_5_text",
    ),
    Tower(
        ("minimax_m3_vl",),
        _linear("patch_merge_mlp.linear_2"),
        (
            "{model.|}patch_merge_mlp.linear_1.{weight|bias}",
            _PROJECTOR + "{linear_1|linear_2}.{weight|bias}",
        ),
        text="minimax_m3_vl_text",
    ),
    Tower(("mllama",), (), ("multi_modal_projector.{weight|bias}",), text="mllama_text_model"),
    Tower(
        ("nemotron_h_omni",),
        _linear("mlp1.3"),
        ("mlp1.{0|1}.{weight|bias}",),
        "nemotron_h",
        ("multi_modal_projector.linear_2",),
    ),
    Tower(("ovis2",), _linear("visual_embeddings_table", 1), text="qwen2"),
    Tower(
        ("paddleocr_vl",),
        _linear("mlp_AR.linear_2"),
        ("mlp_AR.{pre_norm|linear_1}.{weight|bias}",),
        text="paddleocr_vl_text",
    ),
    Tower(("hyperclovax_vision_v2",), _linear("vision_projector"), text="hyperclovax"),
    Tower(("step3p7",), _linear("vit_large_projector"), text="step3p5"),
    Tower(("fuyu",), _linear("vision_embed_tokens"), text="persimmon"),
    Tower(
        ("video_llama_3",),
        _linear("projector.readout.2"),
        ("{model.|}projector.readout.0.{weight|bias}",),
        text="qwen2",
        alone=("projector.readout",),
    ),
    Tower(
        ("phi4_multimodal",),
        tuple(row for name in _PHI4 for row in _linear("embed_tokens_extend." + name)),
        text="phi3",
        alone=_PHI4,
    ),
    Tower(
        ("moss_transcribe_diarize",),
        (
            *_linear(
                "multi_modal_projector.linear_2",
                gain=Gain("model.multi_modal_projector.norm.weight", 0.0, centred=True),
            ),
            _vector("multi_modal_projector.norm.bias"),
        ),
        (*_LINEAR_1, _PROJECTOR + "norm.weight"),
        text="qwen3",
        alone=("multi_modal_projector",),
    ),
)

BY_TYPE = {model_type: tower for tower in TOWERS for model_type in tower.model_types}
"""Model type → what is beside its text tower."""


def with_tower(model_type: str, tower: Tower, text: Family) -> Family:
    """The family of a model that has this text tower with that projector."""
    inner = tuple(prefix.removeprefix("model.") for prefix in text.prefixes)
    places = (
        *(f"language_model.{prefix}" for prefix in text.prefixes),
        *(place + prefix for place in PLACES for prefix in inner),
        *text.prefixes,
        *inner,
    )
    return replace(
        text,
        name=model_type,
        model_types=(model_type,),
        prefixes=tuple(dict.fromkeys(places)),
        unembedding=_anywhere(text.unembedding),
        outside=tower.writers,
        outside_readers=(*_anywhere(text.outside_readers), *tower.readers),
        foreign=(*text.foreign, *FOREIGN),
        text_config="text_config",
    )


def _anywhere(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(start + name for start in STARTS for name in names)
