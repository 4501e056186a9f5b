"""Projectors, connectors and aligners: what makes each of a tower's positions an embedding of the stream."""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.parts import POST_NORM_SITES
from surgery.model.families.table import Gain, Sites, WriterRow
from surgery.model.families.towers import Tower, linear, vector

_PHI4 = (
    "image_embed.img_projection_down",
    "audio_embed.down_proj_for_speech",
    "audio_embed.down_proj_for_vision_speech",
)
_PROJECTOR = "{model.|}multi_modal_projector."
_LINEAR_2 = linear("multi_modal_projector.linear_2")
_NEWLINE = vector("image_newline")
_LINEAR_1 = (_PROJECTOR + "{linear_1|layer_norm|layernorm|projector_layernorm}.{weight|bias}",)
_RESAMPLER = "{model.|}connector.perceiver_resampler."
_RESAMPLED = Gain(_RESAMPLER + "norm.weight", 0.0)

TOWERS = (
    Tower(
        ("vision-encoder-decoder",),
        (),
        ("enc_to_dec_proj.{weight|bias}",),
        text="mbart",
        part="decoder",
        foreign=("encoder.",),
    ),
    Tower(
        ("diffusion_gemma",),
        (WriterRow("model.encoder.embed_vision.embedding_projection.weight", "embedding", 0),),
        ("model.encoder.language_model.layers.{layer}.layer_scalar",),
        alone=("embed_vision",),
        text="diffusion_gemma_text",
        foreign=("encoder.vision_tower.",),
        sites=replace(POST_NORM_SITES, blocks="model.encoder.language_model.layers+model.decoder.layers"),
    ),
    Tower(("fast_vlm",), _LINEAR_2, _LINEAR_1, text="qwen2", alone=("multi_modal_projector",)),
    Tower(
        (
            "llava",
            "vipllava",
            "internvl",
            "aya_vision",
            "cohere2_vision",
            "perception_lm",
            "lfm2_vl",
            "lfm3_vl",
        ),
        _LINEAR_2,
        _LINEAR_1,
    ),
    Tower(("video_llava",), _LINEAR_2, _LINEAR_1, foreign=("video_tower.", "image_tower.")),
    Tower(
        ("mistral3",),
        _LINEAR_2,
        (*_LINEAR_1, _PROJECTOR + "{norm|patch_merger.merging_layer}.weight"),
        text="mistral",
    ),
    Tower(("llava_next", "llava_next_video", "llava_onevision"), (*_LINEAR_2, _NEWLINE), _LINEAR_1),
    Tower(
        ("aria",),
        linear("multi_modal_projector.feed_forward.linear_out"),
        (
            _PROJECTOR + "{query|layer_norm.weight|layer_norm.bias|feed_forward.linear_in.weight}",
            _PROJECTOR + "cross_attn.{q_proj|k_proj|v_proj|linear|layer_norm|layer_norm_kv}.{weight|bias}",
            _PROJECTOR + "cross_attn.multihead_attn.{in_proj_weight|in_proj_bias}",
            _PROJECTOR + "cross_attn.multihead_attn.out_proj.{weight|bias}",
        ),
        text="aria_text",
    ),
    Tower(("paligemma",), linear("multi_modal_projector.linear"), text="gemma", pads=False),
    Tower(
        ("blip-2", "instructblip", "instructblipvideo"),
        linear("language_projection"),
        ("query_tokens",),
        foreign=("qformer.",),
    ),
    Tower(("deepseek_vl",), linear("aligner.linear2"), ("{model.|}aligner.linear1.{weight|bias}",)),
    Tower(
        ("deepseek_vl_hybrid",),
        linear("aligner.proj"),
        ("{model.|}aligner.{vision_proj|high_res_vision_proj}.{weight|bias}",),
        alone=("aligner.proj",),
        foreign=("high_res_vision_",),
    ),
    Tower(
        ("got_ocr2", "pp_chart2table"),
        linear("multi_modal_projector.multimodal_projector"),
        (_PROJECTOR + "{conv_upsampler1|conv_upsampler2}.weight",),
        text="qwen2",
    ),
    Tower(
        ("gemma3",),
        (WriterRow(_PROJECTOR + "mm_input_projection_weight", "embedding", 1),),
        (_PROJECTOR + "mm_soft_emb_norm.weight",),
        text="gemma3_text",
    ),
    Tower(
        ("gemma4", "gemma4_unified"),
        (
            WriterRow("{model.|}embed_vision.embedding_projection.weight", "embedding", 0, optional=True),
            WriterRow("{model.|}embed_audio.embedding_projection.weight", "embedding", 0, optional=True),
        ),
        text="gemma4_text",
        alone=("embed_vision", "embed_audio"),
        foreign=("vision_embedder.",),
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
    Tower(("emu3",), (), text="emu3_text_model", foreign=("vqmodel.",)),
    Tower(("idefics3", "smolvlm"), linear("connector.modality_projection.proj")),
    Tower(("llama4",), linear("multi_modal_projector.linear_1"), text="llama4_text"),
    Tower(
        ("minimax_m3_vl",),
        linear("patch_merge_mlp.linear_2"),
        ("{model.|}patch_merge_mlp.linear_1.{weight|bias}", _PROJECTOR + "{linear_1|linear_2}.{weight|bias}"),
        text="minimax_m3_vl_text",
    ),
    Tower(("mllama",), (), ("multi_modal_projector.{weight|bias}",), text="mllama_text_model"),
    Tower(
        ("nemotron_h_omni",),
        linear("mlp1.3"),
        ("mlp1.{0|1}.{weight|bias}",),
        "nemotron_h",
        ("multi_modal_projector.linear_2",),
    ),
    Tower(
        ("video_llama_3",),
        linear("projector.readout.2"),
        ("{model.|}projector.readout.0.{weight|bias}",),
        text="qwen2",
        alone=("projector.readout",),
    ),
    Tower(
        ("phi4_multimodal",),
        tuple(row for name in _PHI4 for row in linear("embed_tokens_extend." + name)),
        text="phi3",
        alone=_PHI4,
        foreign=("embed_tokens_extend.",),
        sites=Sites(),
    ),
    Tower(
        ("moss_transcribe_diarize",),
        (
            *linear(
                "multi_modal_projector.linear_2",
                gain=Gain("model.multi_modal_projector.norm.weight", 0.0, centred=True),
            ),
            vector("multi_modal_projector.norm.bias"),
        ),
        (*_LINEAR_1, _PROJECTOR + "norm.weight"),
        text="qwen3",
        alone=("multi_modal_projector",),
    ),
    Tower(
        ("janus",),
        (*linear("aligner.hidden_layers.0"), *linear("generation_aligner.hidden_layers.0")),
        (
            "{model.|}{aligner|generation_aligner}.fc1.{weight|bias}",
            "{model.|}{generation_embeddings|generation_head.proj_out|generation_head.vision_head}.{weight|bias}",
        ),
        alone=("generation_aligner",),
        foreign=("vqmodel.",),
    ),
    Tower(
        ("deepseek_ocr2", "unlimited_ocr"),
        (
            *linear("projector.layers"),
            vector("view_seperator"),
            replace(vector("image_newline"), optional=True),
        ),
        text="deepseek_ocr2_text",
        alone=("multi_modal_projector", "view_separator", "image_newline"),
        foreign=("sam_", "qwen2_model."),
    ),
    Tower(
        ("granite4_vision",),
        (
            *linear("layerwise_projectors.{index}.out_linear"),
            *linear("spatial_projectors.{index}.out_linear"),
            _NEWLINE,
        ),
        text="granite4_vision_text",
        foreign=("layerwise_projectors.", "spatial_projectors."),
        alone=("out_linear", "image_newline"),
    ),
    Tower(
        ("cosmos3_edge",),
        linear("projector.linear_fc2"),
        ("{model.|}projector.{linear_fc1|norm}.{weight|bias}",),
        text="cosmos3_edge_text",
    ),
)
