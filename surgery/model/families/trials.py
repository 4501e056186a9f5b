"""What each model type's table is proved with: settings of its config class, beside the class's own defaults.

They vary what could change who writes: biases, tying, norms behind a sublayer, parallel blocks, multipliers,
shared experts, dense layers among sparse ones, kinds of mixers. Sizes are not varied; the twin sets them. A
model type that is not named here is tried once, with its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from surgery.model.families import FILES

_Trials = tuple[Mapping[str, Any], ...]

_TIED: dict[str, Any] = {"tie_word_embeddings": True}
_UNTIED: dict[str, Any] = {"tie_word_embeddings": False}
_MIXED: dict[str, Any] = {"num_hidden_layers": 2, "mlp_layer_types": ["dense", "sparse"]}
_HYBRID: dict[str, Any] = {"num_hidden_layers": 4, "layer_types": ["mamba", "attention"] * 2}
_CONVOLVED: dict[str, Any] = {"layer_types": ["conv", "full_attention"] * 8, "num_hidden_layers": 16}
_ROUTED: dict[str, Any] = {"n_routed_experts": 64, "num_experts_per_tok": 6, "n_shared_experts": 2}
_CROSS: dict[str, Any] = {"add_cross_attention": True}
_BIAS: dict[str, Any] = {"attention_bias": True}
_BIASES: dict[str, Any] = {"attention_bias": True, "mlp_bias": True}
_TURNING = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
_MROPE: dict[str, Any] = {"text_config": {"rope_parameters": _TURNING}}
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_INDEXER = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 256,
    "indexer_budget": 2048,
    "indexer_compress_ratio": 16,
}
_TIMM = {"model_type": "timm_wrapper", "model_args": {"embed_dim": 1024}}

_SHARED: tuple[tuple[_Trials, str], ...] = (
    (
        ({}, _BIAS),
        "axk1 axk2 beam bitnet deepseek_v32 diffllama dots3_note_text flex_olmo glm4_moe_lite"
        " glm_moe_dsa hy_v3 hy_v4 laguna nanochat qwen3_5_moe_text vaultgemma youtu",
    ),
    (
        ({}, _TIED),
        "bailing_hybrid exaone4 exaone_moe hrm_text ministral3 mistral mixtral phi3 phi4_multimodal"
        " pix2struct qwen2",
    ),
    ((_MROPE,), "glm46v glm4v glm4v_moe glm_ocr glmga paddleocr_vl qwen2_5_omni_thinker qwen2_5_vl qwen2_vl"),
    (({}, {**_BIAS, **_TIED}), "afmoe apertus olmo olmo2 olmo3 olmo_hybrid olmoe qwen3_5_text"),
    (
        ({}, {**_BIAS, **_UNTIED}),
        "cohere2 cohere_compass_text gemma gemma2 gemma3_text gemma3n_text gemma4_unified_text",
    ),
    (({}, _UNTIED), "bloom gpt_neox_japanese megatron-bert roberta-prelayernorm xlm-roberta-xl zaya"),
    (({}, {**_BIASES, **_TIED}), "arcee chameleon helium llama nemotron"),
    (({}, _BIASES), "aria_text internlm3 iquestcoder minicpm3"),
    (({}, {"use_bias": True, **_UNTIED}), "ernie4_5 ernie4_5_moe mamba"),
    (({}, {**_TIED, "attention_bias": False}), "glm glm4 gpt_oss"),
    (({}, {"use_bias": True}), "bigbird_pegasus falcon_mamba"),
    (({"image_token_index": 50265},), "blip-2 instructblip"),
    (({"vision_config": _TIMM},), "fast_vlm perception_lm"),
    (({"shared_intermediate_size": 1024}, _BIAS), "granitemoe_swa granitemoeshared"),
    (({"head_dim": 128}, {**_BIAS, **_TIED, "head_dim": 128}), "hunyuan_v1_dense qwen3"),
    (({}, {"use_bias": True, **_TIED}), "mamba2 xlstm"),
)
"""Trials → the model types that have these."""

_OWN: dict[str, _Trials] = {
    "bamba": (
        {"attn_layer_indices": [9, 18, 27]},
        {**_BIASES, "attn_layer_indices": [9, 18, 27], "mamba_proj_bias": True},
    ),
    "cohere": ({}, {**_BIAS, "use_qk_norm": True, **_UNTIED}),
    "cohere2_moe": (
        {},
        {**_BIAS, "num_shared_experts": 2, "layer_types": ["sliding_attention", "full_attention"], **_MIXED},
    ),
    "cwm": ({}, {"mlp_bias": True}),
    "dbrx": ({"attn_config": {"rope_theta": 500000, "kv_n_heads": 2, "clip_qkv": 8}},),
    "deepseek_ocr2": ({"text_config": {"num_experts_per_tok": 6, **_MIXED}},),
    "deepseek_v2": (
        {"num_experts_per_tok": 6},
        {**_BIAS, **_TIED, "num_experts_per_tok": 6, "first_k_dense_replace": 1},
    ),
    "deepseek_v3": ({}, {**_BIAS, "n_shared_experts": 2}),
    "diffusion_gemma": (
        {"text_config": {"num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 64}},
    ),
    "doge": ({}, {**_BIASES, "is_moe": True}),
    "dots1": (_ROUTED, {**_BIAS, **_ROUTED, "first_k_dense_replace": 1}),
    "ernie4_5_vl_moe": ({"text_config": {"rope_parameters": {**_ROPE, "mrope_section": [22, 22, 20]}}},),
    "falcon": (
        {},
        {"new_decoder_architecture": True, "bias": True},
        {"parallel_attn": False, "bias": True, "alibi": True, "multi_query": False, **_UNTIED},
    ),
    "falcon_h1": ({}, {**_BIASES, "projectors_bias": True, "mamba_proj_bias": True}),
    "flint": ({}, {**_BIAS, "mlp_only_layers": []}),
    "gemma3": ({}, {"text_config": {"model_type": "gemma3_text", "attention_bias": True}}),
    "gemma4": ({"vision_config": {"model_type": "gemma4_vision"}},),
    "gemma4_text": (
        {},
        {
            **_BIAS,
            "enable_moe_block": True,
            "num_experts": 8,
            "top_k_experts": 2,
            "moe_intermediate_size": 64,
            "hidden_size_per_layer_input": 0,
        },
        {"num_kv_shared_layers": 10, "use_double_wide_mlp": True, **_UNTIED},
    ),
    "glm4_moe": ({}, {**_BIAS, **_TIED, "use_qk_norm": True}),
    "gpt-sw3": ({}, _CROSS),
    "gpt2": ({}, {**_CROSS, **_UNTIED}),
    "gpt_bigcode": ({}, {"multi_query": False}),
    "gpt_neox": ({}, {**_TIED, "use_parallel_residual": False, "attention_bias": False}),
    "granite": ({"residual_multiplier": 0.22, "embedding_multiplier": 12.0}, {**_BIASES, **_TIED}),
    "granite4_vision": (
        {
            "vision_config": {"model_type": "siglip_vision_model"},
            "downsample_rate": "1/2",
            "deepstack_layer_map": [[-1, 0]],
            "image_grid_pinpoints": [[28, 56]],
        },
    ),
    "granite_swa": ({"residual_multiplier": 0.22, "embedding_multiplier": 12.0}, {**_BIASES, **_UNTIED}),
    "granitemoe": ({"residual_multiplier": 0.2, "num_local_experts": 8}, {**_BIAS, **_TIED}),
    "granitemoehybrid": (
        {**_HYBRID, "num_local_experts": 8},
        {**_HYBRID, "num_local_experts": 0, **_BIAS, "mamba_proj_bias": True, "residual_multiplier": 0.2},
    ),
    "hunyuan_v1_moe": (
        {"head_dim": 128, "moe_topk": 2, "num_experts": 8},
        {**_BIAS, "head_dim": 128, "moe_topk": 2, "num_experts": 8},
    ),
    "hunyuan_vl": (
        {"text_config": {"head_dim": 128, "rope_parameters": {**_ROPE, "mrope_section": [16, 16, 16, 16]}}},
    ),
    "hyperclovax": ({}, {**_BIASES, "use_post_norm": False, "residual_multiplier": 0.3}),
    "idefics": (
        {},
        {
            "additional_vocab_size": 2,
            "cross_layer_interval": 2,
            "qk_layer_norms": True,
            "use_resampler": True,
        },
    ),
    "inkling_mm_model": ({}, {"text_config": {"model_type": "inkling_text", **_MIXED}}),
    "inkling_text": ({}, {"mlp_layer_types": ["dense"] * 2 + ["sparse"] * 64}),
    "instructblipvideo": ({"video_token_index": 50265},),
    "jais2": ({}, {"attention_bias": False, "mlp_bias": False}),
    "jamba": ({}, {"mamba_proj_bias": True}),
    "lfm2": (_CONVOLVED, {**_CONVOLVED, "conv_bias": True}),
    "lfm2_moe": (
        {**_CONVOLVED, "num_dense_layers": 1},
        {**_CONVOLVED, "conv_bias": True, "num_dense_layers": 1},
    ),
    "lfm3": ({}, {**_BIAS, "conv_bias": True}),
    "llama4_text": ({}, {**_BIAS, "interleave_moe_layer_step": 2}),
    "mellum": ({}, {**_BIAS, "layer_types": ["sliding_attention", "full_attention"], **_MIXED}),
    "minimax_m3_vl_text": ({}, {"mlp_layer_types": ["dense"] * 3 + ["sparse"] * 57}),
    "ministral": ({"head_dim": 128},),
    "mistral4": ({}, {**_BIAS, "first_k_dense_replace": 1}),
    "modernbert-decoder": ({}, {**_BIASES, "norm_bias": True, **_UNTIED}),
    "nemotron_h": ({}, {**_BIASES, "use_bias": True, "moe_latent_size": 16, **_TIED}),
    "opt": ({}, {"enable_bias": False}),
    "persimmon": ({}, {**_TIED, "qk_layernorm": False}),
    "phi": ({}, {"qk_layernorm": True}),
    "phimoe": ({}, {**_BIAS, "lm_head_bias": True}),
    "qwen2_moe": ({}, {**_TIED, "mlp_only_layers": [0]}),
    "qwen3_moe": ({"head_dim": 128}, {**_BIAS, "mlp_only_layers": [0]}),
    "qwen3_next": ({}, {**_BIAS, "mlp_only_layers": [0]}),
    "qwen4_exp": ({"text_config": {"model_type": "qwen4_exp_text", **_INDEXER}},),
    "qwen4_exp_text": (_INDEXER, {**_INDEXER, **_BIAS, **_TIED}),
    "recurrent_gemma": ({"num_hidden_layers": 26},),
    "seed_oss": ({}, {**_TIED, "attention_out_bias": True, "mlp_bias": True}),
    "smollm3": ({}, {**_BIASES, **_UNTIED}),
    "stablelm": ({}, {**_TIED, "use_parallel_residual": True, "use_qkv_bias": True, "qk_layernorm": True}),
    "starcoder2": ({}, {"use_bias": False, **_UNTIED}),
    "step3p7": ({"text_config": {"sliding_window": 512}},),
    "t5gemma2": ({}, {"decoder": {"attention_bias": True}}),
    "udop": ({}, {"feed_forward_proj": "gated-gelu", "num_decoder_layers": 3}),
    "vision-encoder-decoder": (
        {"encoder": {"model_type": "donut-swin"}, "decoder": {"model_type": "mbart"}},
        {"encoder": {"model_type": "vit"}, "decoder": {"model_type": "gpt2", "add_cross_attention": True}},
    ),
    "zamba": ({}, {"mamba_proj_bias": True, **_UNTIED}),
    "zamba2": ({}, {"add_bias_linear": True, "use_shared_attention_adapter": True}),
}

TRIALS: Mapping[str, _Trials] = MappingProxyType(
    {
        **{name: ({},) for name in FILES if FILES[name] != "text"},
        **{model_type: trials for trials, names in _SHARED for model_type in names.split()},
        **_OWN,
    }
)
"""Model type → its trials."""
