"""The sizes of a twin: every number in a config that costs memory or time and decides nothing about who
writes.

A key is put in only where the model's own config has it, so one table serves every family.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

VOCABULARY = 96
SPECIAL = 16
"""How many tokens at the end of the vocabulary may mean an image or the like."""
D_MODEL = 32
HEADS = 4
HEAD_DIM_APART = 12
D_MLP = 40
POSITIONS = 64
EXPERTS = 4
IMAGE_SIZE, PATCH_SIZE, IMAGE_TOKENS = 28, 14, 4

_ALIKE: tuple[tuple[Any, str], ...] = (
    (
        D_MLP,
        "ffn_dim d_ff ffn_hidden_size n_inner intermediate_size_mlp dense_intermediate_size"
        " encoder_ffn_dim decoder_ffn_dim dff dim_ff",
    ),
    (
        2,
        "encoder_layers decoder_layers num_layers_per_stack zero_expert_num num_experts_per_tok"
        " top_k_experts moe_topk moe_k o_groups index_n_heads indexer_n_heads linear_num_key_heads"
        " attn_layer_period expert_layer_period",
    ),
    (HEADS, "encoder_attention_heads decoder_attention_heads linear_num_heads"),
    (
        8,
        "dim_head qk_nope_head_dim index_head_dim indexer_head_dim linear_head_dim"
        " linear_key_head_dim linear_value_head_dim mamba_n_heads mamba_d_head mamba_num_heads"
        " mamba_head_dim",
    ),
    (
        4,
        "prompt_length qk_rope_head_dim rotary_dim index_topk indexer_budget"
        " linear_num_value_heads time_step_rank mamba_dt_rank",
    ),
    (24, "moe_intermediate_size expert_ffn_hidden_size lru_width"),
    (28, "moe_shared_expert_intermediate_size shared_expert_intermediate_size shared_intermediate_size"),
    (EXPERTS, "num_experts num_local_experts n_routed_experts moe_num_experts"),
    (
        1,
        "n_group topk_group first_k_dense_replace indexer_kv_heads n_groups mamba_n_groups"
        " attn_layer_offset expert_layer_offset num_dense_layers",
    ),
    (16, "q_lora_rank kv_lora_rank ssm_state_size mamba_d_state router_hidden_size"),
    (6, "o_lora_rank laurel_rank adapter_rank"),
    (12, "v_head_dim hidden_size_per_layer_input"),
)
"""Size in a twin → the keys that get it."""

SMALL: Mapping[str, Any] = MappingProxyType(
    {
        **{key: size for size, keys in _ALIKE for key in keys.split()},
        "d_kv": D_MODEL // HEADS,
        "num_decoder_layers": 3,
        "embedding_dim": D_MODEL,
        "mamba_d_ssm": 64,
        "attn_layer_indices": [1],
        "mlp_only_layers": [0],
        "vocab_size_per_layer_input": VOCABULARY,
        "max_position_embeddings": POSITIONS,
    }
)
"""Sizes that only some families have → their value in a twin."""

_ZAMBA = {
    "num_hidden_layers": 4,
    "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
    "attention_hidden_size": 2 * D_MODEL,
    "attention_head_dim": 2 * D_MODEL // HEADS,
}
_SEEN = {
    "<image>": VOCABULARY - 1,
    "<|extra_200|>": VOCABULARY - 2,
    **{f"<|visual token {number:06d}|>": VOCABULARY - 3 - number for number in range(4)},
    "IMGIMGAZ": VOCABULARY - 7,
}
"""Where a model that sees by tokens has those of an image, under each one's names for them."""
_PAINTER = {
    "base_channels": 32,
    "channel_multiplier": [1, 1],
    "num_res_blocks": 1,
    "latent_channels": 4,
    "codebook_size": 4,
    "num_embeddings": 4,
    "embed_dim": 4,
}
_TWO_TILES = [[IMAGE_SIZE, 2 * IMAGE_SIZE]]
APART: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "chameleon": {"vocabulary_map": _SEEN},
        "emu3": {"vocabulary_map": _SEEN},
        "chameleon_vqgan": {"resolution": IMAGE_SIZE, **_PAINTER},
        "emu3_vqgan": {"temporal_downsample_factor": 1, **_PAINTER},
        "idefics2_perceiver": {
            "hidden_size": D_MODEL,
            "resampler_n_latents": 6,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "num_key_value_heads": 2,
        },
        "mamba2": {"num_heads": 8, "head_dim": 8},
        "zaya": {"num_experts_per_tok": 1},
        "xlstm": {"num_heads": 4, "num_blocks": 2, "chunk_size": 8},
        "rwkv": {"attention_hidden_size": 40, "context_length": POSITIONS},
        "zamba": {**_ZAMBA, "n_mamba_heads": 2},
        "zamba2": {**_ZAMBA, "n_mamba_heads": 4, "mamba_headdim": 16, "hybrid_layer_ids": [1, 3]},
        "dbrx": {"ffn_config": {"ffn_hidden_size": D_MLP, "moe_num_experts": EXPERTS, "moe_top_k": 2}},
        "dots3_note_text": {"num_key_value_heads": HEADS},
        "qwen2_vl_vision": {"hidden_size": D_MODEL},
        "blip-2": {"num_query_tokens": 4},
        "instructblip": {"num_query_tokens": 4},
        "instructblipvideo": {"num_query_tokens": 4},
        "llama4_vision_model": {
            "intermediate_size": 64,
            "projector_input_dim": 24,
            "projector_output_dim": 24,
            "vision_output_dim": 24,
        },
        "vipllava": {"vision_feature_layers": [-1, -2]},
        "aria": {"projector_patch_to_query_dict": {4: 3}},
        "llava_next": {"image_grid_pinpoints": _TWO_TILES},
        "llava_next_video": {"image_grid_pinpoints": _TWO_TILES},
        "llava_onevision": {"image_grid_pinpoints": _TWO_TILES},
        "mllama_text_model": {"num_hidden_layers": 2, "cross_attention_layers": [1]},
        "mllama_vision_model": {"supported_aspect_ratios": [[1, 1]], "vision_output_dim": 24},
        "t5gemma2_text": {"hidden_size": D_MODEL, "vocab_size": VOCABULARY},
        "t5gemma2_encoder": {"eoi_token_index": VOCABULARY - 2},
        "donut-swin": {"depths": [1, 1], "num_heads": [2, 2]},
        "gemma4_vision": {"pooling_kernel_size": 2, "position_embedding_size": 16},
        "longcat_flash": {"qk_head_dim": 12},
        "janus_vision_model": {"depth": 2, "hidden_size": D_MODEL},
        "janus_vqgan": {
            **_PAINTER,
            "num_hidden_layers": 2,
            "num_patches": 2,
            "projection_dim": D_MODEL,
            "image_token_embed_dim": D_MODEL,
        },
        "dots3_note_vision_encoder": {"adapter_in_dim": 16},
        "dots3_note_audio_encoder": {"adapter_input_size": 16, "downsample_hidden_size": 8},
        "qwen4_exp_text": {"hc_lowrank": 8, "indexer_head_dim": HEAD_DIM_APART, "indexer_compress_ratio": 2},
        "inkling_vision": {"patch_size": 4, "num_hidden_layers": 2},
        "granite4_vision": {"vision_config": {"hidden_size": 64}, "spatial_target_layers": [1]},
        "granite4_vision_text": {"num_hidden_layers": 2},
        "granite_docling_vision": {"scale_factor": 2},
        "kimi_k25": {"projection_hidden_size": 16},
        "ernie4_5_vl_moe_text": {"moe_intermediate_size": [24, 20]},
        "glm5_next_text": {"index_kpool": 2},
        "mistral_large4_text": {"kv_source_layers": None, "no_rope_layers": None, "indexer_types": None},
        "molmo2_vision": {"image_size": [IMAGE_SIZE] * 2, "num_position_embeddings": 4},
        "molmo2_adapter": {"vision_feature_layer": [-1]},
        "cohere_compass_text": {
            "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
        },
    }
)
"""Model type → sizes that its own config class checks against each other."""

SIDE: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 16,
        "embed_dim": 16,
        "d_model": 16,
        "intermediate_size": 24,
        "mlp_dim": 24,
        "num_hidden_layers": 1,
        "num_layers": 1,
        "encoder_layers": 1,
        "depth": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "encoder_attention_heads": 2,
        "num_heads": 2,
        "head_dim": 8,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "deepstack_visual_indexes": [0],
    }
)
"""Sizes of a tower with a stream of its own → their value in a twin."""

SIDE_BY_SIDE: Mapping[str, Any] = MappingProxyType(
    {"mm_tokens_per_image": IMAGE_TOKENS, "hidden_size": D_MODEL, "vocab_size": VOCABULARY}
)
"""Sizes beside the towers that belong to what joins them → their value in a twin."""

TO_STREAM = (
    "out_hidden_size",
    "projection_dim",
    "output_dim",
    "adapter_out_dim",
    "text_hidden_size",
)
"""Keys of a tower that say how wide the text tower's stream is."""

STAND_INS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"timm_wrapper": {"model_type": "siglip_vision_model", "model_args": {"embed_dim": SIDE["hidden_size"]}}}
)
"""Towers that another library builds → one of transformers' own that stands for them in a twin."""

PUBLISHED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "kimi_k25": ("language_model.model.blocks.", "language_model.model.layers."),
        "qianfan_ocr": ("language_model.model.encoder.layers.", "language_model.model.layers."),
    }
)
"""Model type → what transformers saves a part of the names as, and what published checkpoints call it."""
