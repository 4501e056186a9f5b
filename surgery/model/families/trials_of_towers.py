"""What the tables of models that see or hear are proved with; see `trials`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_TURNING = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
_MROPE: dict[str, Any] = {"text_config": {"rope_parameters": _TURNING}}
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
INDEXER = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 256,
    "indexer_budget": 2048,
    "indexer_compress_ratio": 16,
}

_TIMM = {"model_type": "timm_wrapper", "model_args": {"embed_dim": 1024}}

TRIALS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "aria": ({},),
        "aya_vision": ({},),
        "blip-2": ({"image_token_index": 50265},),
        "cohere2_vision": ({},),
        "cohere_compass": ({},),
        "cosmos3_edge": ({},),
        "cosmos3_omni": ({},),
        "deepseek_ocr2": (
            {
                "text_config": {
                    "num_experts_per_tok": 6,
                    "num_hidden_layers": 2,
                    "mlp_layer_types": ["dense", "sparse"],
                }
            },
        ),
        "deepseek_vl": ({},),
        "deepseek_vl_hybrid": ({},),
        "diffusion_gemma": (
            {"text_config": {"num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 64}},
        ),
        "dots3_note": ({},),
        "emu3": ({},),
        "ernie4_5_vl_moe": ({"text_config": {"rope_parameters": {**_ROPE, "mrope_section": [22, 22, 20]}}},),
        "exaone4_5": ({},),
        "fast_vlm": ({"vision_config": _TIMM},),
        "fuyu": ({},),
        "gemma3": ({}, {"text_config": {"model_type": "gemma3_text", "attention_bias": True}}),
        "gemma4": ({"vision_config": {"model_type": "gemma4_vision"}},),
        "gemma4_unified": ({},),
        "glm46v": (_MROPE,),
        "glm4v": (_MROPE,),
        "glm4v_moe": (_MROPE,),
        "glm5_next": ({},),
        "glm_ocr": (_MROPE,),
        "glmga": (_MROPE,),
        "got_ocr2": ({},),
        "granite4_vision": (
            {
                "vision_config": {"model_type": "siglip_vision_model"},
                "downsample_rate": "1/2",
                "deepstack_layer_map": [[-1, 0]],
                "image_grid_pinpoints": [[28, 56]],
            },
        ),
        "granite_docling": ({},),
        "hunyuan_vl": (
            {
                "text_config": {
                    "head_dim": 128,
                    "rope_parameters": {**_ROPE, "mrope_section": [16, 16, 16, 16]},
                }
            },
        ),
        "hyperclovax_vision_v2": ({},),
        "idefics2": ({},),
        "idefics3": ({},),
        "inkling2": ({},),
        "inkling_mm_model": (
            {},
            {
                "text_config": {
                    "model_type": "inkling_text",
                    "num_hidden_layers": 2,
                    "mlp_layer_types": ["dense", "sparse"],
                }
            },
        ),
        "instructblip": ({"image_token_index": 50265},),
        "instructblipvideo": ({"video_token_index": 50265},),
        "internvl": ({},),
        "janus": ({},),
        "kimi_k25": ({},),
        "lfm2_vl": ({},),
        "lfm3_vl": ({},),
        "lighton_ocr": ({},),
        "llama4": ({},),
        "llava": ({},),
        "llava_next": ({},),
        "llava_next_video": ({},),
        "llava_onevision": ({},),
        "minicpm_ocr": ({},),
        "minicpmv4_6": ({},),
        "minicpmv4_7": ({},),
        "minimax_m3_vl": ({},),
        "mistral3": ({},),
        "mistral_large4": ({},),
        "mllama": ({},),
        "molmo2": ({},),
        "moss_transcribe_diarize": ({},),
        "muse_glimmer": ({},),
        "nemotron_h_omni": ({},),
        "ovis2": ({},),
        "paddleocr_vl": (_MROPE,),
        "paligemma": ({},),
        "perception_lm": ({"vision_config": _TIMM},),
        "phi4_multimodal": ({}, {"tie_word_embeddings": True}),
        "pix2struct": ({}, {"tie_word_embeddings": True}),
        "pp_chart2table": ({},),
        "pp_formulanet": ({},),
        "qianfan_ocr": ({},),
        "qwen2_5_omni_thinker": (_MROPE,),
        "qwen2_5_vl": (_MROPE,),
        "qwen2_vl": (_MROPE,),
        "qwen3_5": ({},),
        "qwen3_5_moe": ({},),
        "qwen3_omni_moe_thinker": ({},),
        "qwen3_vl": ({},),
        "qwen3_vl_moe": ({},),
        "qwen4_exp": ({"text_config": {"model_type": "qwen4_exp_text", **INDEXER}},),
        "smolvlm": ({},),
        "step3p7": ({"text_config": {"sliding_window": 512}},),
        "t5gemma2": ({}, {"decoder": {"attention_bias": True}}),
        "udop": ({}, {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 3}),
        "unlimited_ocr": ({},),
        "video_llama_3": ({},),
        "video_llava": ({},),
        "vision-encoder-decoder": (
            {"encoder": {"model_type": "donut-swin"}, "decoder": {"model_type": "mbart"}},
            {
                "encoder": {"model_type": "vit"},
                "decoder": {"model_type": "gpt2", "add_cross_attention": True},
            },
        ),
        "vipllava": ({},),
    }
)
"""Model type → its trials."""
