"""What each model type's table is proved with: settings of its config class, beside the class's own defaults.

They vary what could change who writes: biases, tying, norms behind a sublayer, parallel blocks, multipliers,
shared experts, dense layers among sparse ones, kinds of mixers. Sizes are not varied; the twin sets them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_TIED: dict[str, Any] = {"tie_word_embeddings": True}
_BIAS: dict[str, Any] = {"attention_bias": True}
_BIASES: dict[str, Any] = {"attention_bias": True, "mlp_bias": True}

TRIALS: Mapping[str, tuple[Mapping[str, Any], ...]] = MappingProxyType(
    {
        "afmoe": ({}, {**_BIAS, **_TIED}),
        "apertus": ({}, {**_BIAS, **_TIED}),
        "arcee": ({}, {**_BIASES, **_TIED}),
        "aria_text": ({}, _BIASES),
        "axk1": ({}, _BIAS),
        "bamba": (
            {"attn_layer_indices": [9, 18, 27]},
            {**_BIASES, "attn_layer_indices": [9, 18, 27], "mamba_proj_bias": True},
        ),
        "beam": ({}, _BIAS),
        "biogpt": ({},),
        "bitnet": ({}, _BIAS),
        "codegen": ({},),
        "cohere": ({}, {**_BIAS, "use_qk_norm": True, "tie_word_embeddings": False}),
        "cohere2": ({}, {**_BIAS, "tie_word_embeddings": False}),
        "cohere2_moe": (
            {},
            {
                **_BIAS,
                "num_shared_experts": 2,
                "num_hidden_layers": 2,
                "layer_types": ["sliding_attention", "full_attention"],
                "mlp_layer_types": ["dense", "sparse"],
            },
        ),
        "cwm": ({}, {"mlp_bias": True}),
        "deepseek_v2": (
            {"num_experts_per_tok": 6},
            {**_BIAS, **_TIED, "num_experts_per_tok": 6, "first_k_dense_replace": 1},
        ),
        "deepseek_v3": ({}, {**_BIAS, "n_shared_experts": 2}),
        "deepseek_v32": ({}, _BIAS),
        "diffllama": ({}, _BIAS),
        "dots1": (
            {"n_routed_experts": 64, "num_experts_per_tok": 6, "n_shared_experts": 2},
            {
                **_BIAS,
                "n_routed_experts": 64,
                "num_experts_per_tok": 6,
                "n_shared_experts": 2,
                "first_k_dense_replace": 1,
            },
        ),
        "ernie4_5": ({}, {"use_bias": True, "tie_word_embeddings": False}),
        "ernie4_5_moe": ({}, {"use_bias": True, "tie_word_embeddings": False}),
        "exaone4": ({}, _TIED),
        "exaone_moe": ({}, _TIED),
        "falcon": (
            {},
            {"new_decoder_architecture": True, "bias": True},
            {
                "parallel_attn": False,
                "bias": True,
                "alibi": True,
                "multi_query": False,
                "tie_word_embeddings": False,
            },
        ),
        "falcon_h1": ({}, {**_BIASES, "projectors_bias": True, "mamba_proj_bias": True}),
        "flex_olmo": ({}, _BIAS),
        "flint": ({}, {**_BIAS, "mlp_only_layers": []}),
        "gemma": ({}, {**_BIAS, "tie_word_embeddings": False}),
        "gemma2": ({}, {**_BIAS, "tie_word_embeddings": False}),
        "gemma3": ({}, {"text_config": {"model_type": "gemma3_text", **_BIAS}}),
        "gemma3_text": ({}, {**_BIAS, "tie_word_embeddings": False}),
        "glm": ({}, {**_TIED, "attention_bias": False}),
        "glm4": ({}, {**_TIED, "attention_bias": False}),
        "glm4_moe": ({}, {**_BIAS, **_TIED, "use_qk_norm": True}),
        "glm4_moe_lite": ({}, _BIAS),
        "glm_moe_dsa": ({}, _BIAS),
        "gpt-sw3": ({},),
        "gpt2": ({}, {"tie_word_embeddings": False}),
        "gpt_bigcode": ({}, {"multi_query": False}),
        "gpt_neo": ({},),
        "gpt_neox": ({}, {**_TIED, "use_parallel_residual": False, "attention_bias": False}),
        "gpt_oss": ({}, {**_TIED, "attention_bias": False}),
        "gptj": ({},),
        "granite": ({"residual_multiplier": 0.22, "embedding_multiplier": 12.0}, {**_BIASES, **_TIED}),
        "granite_swa": (
            {"residual_multiplier": 0.22, "embedding_multiplier": 12.0},
            {**_BIASES, "tie_word_embeddings": False},
        ),
        "granitemoe": ({"residual_multiplier": 0.2, "num_local_experts": 8}, {**_BIAS, **_TIED}),
        "granitemoe_swa": ({"shared_intermediate_size": 1024}, _BIAS),
        "granitemoehybrid": (
            {"num_hidden_layers": 4, "layer_types": ["mamba", "attention"] * 2, "num_local_experts": 8},
            {
                "num_hidden_layers": 4,
                "layer_types": ["mamba", "attention"] * 2,
                "num_local_experts": 0,
                **_BIAS,
                "mamba_proj_bias": True,
                "residual_multiplier": 0.2,
            },
        ),
        "granitemoeshared": ({"shared_intermediate_size": 1024}, _BIAS),
        "helium": ({}, {**_BIASES, **_TIED}),
        "hunyuan_v1_dense": ({"head_dim": 128}, {**_BIAS, **_TIED, "head_dim": 128}),
        "hunyuan_v1_moe": (
            {"head_dim": 128, "moe_topk": 2, "num_experts": 8},
            {**_BIAS, "head_dim": 128, "moe_topk": 2, "num_experts": 8},
        ),
        "hy_v3": ({}, _BIAS),
        "hyperclovax": ({}, {**_BIASES, "use_post_norm": False, "residual_multiplier": 0.3}),
        "internlm3": ({}, _BIASES),
        "iquestcoder": ({}, _BIASES),
        "jais2": ({}, {"attention_bias": False, "mlp_bias": False}),
        "jamba": ({}, {"mamba_proj_bias": True}),
        "jetmoe": ({},),
        "kimi_linear": ({},),
        "kolibri1": ({},),
        "lfm2": (
            {"layer_types": ["conv", "full_attention"] * 8, "num_hidden_layers": 16},
            {"layer_types": ["conv", "full_attention"] * 8, "conv_bias": True, "num_hidden_layers": 16},
        ),
        "lfm2_moe": (
            {"num_hidden_layers": 24, "layer_types": ["conv", "full_attention"] * 12, "num_dense_layers": 1},
            {
                "num_hidden_layers": 24,
                "layer_types": ["conv", "full_attention"] * 12,
                "conv_bias": True,
                "num_dense_layers": 1,
            },
        ),
        "lfm3": ({}, {**_BIAS, "conv_bias": True}),
        "llama": ({}, {**_BIASES, **_TIED}),
        "llama4_text": ({}, {**_BIAS, "interleave_moe_layer_step": 2}),
        "mellum": (
            {},
            {
                **_BIAS,
                "num_hidden_layers": 2,
                "layer_types": ["sliding_attention", "full_attention"],
                "mlp_layer_types": ["dense", "sparse"],
            },
        ),
        "mimo_v2_flash": ({},),
        "minicpm3": ({}, _BIASES),
        "minimax_m2": ({},),
        "ministral": ({"head_dim": 128},),
        "ministral3": ({}, _TIED),
        "mistral": ({}, _TIED),
        "mixtral": ({}, _TIED),
        "mpt": ({},),
        "nanochat": ({}, _BIAS),
        "nemotron": ({}, {**_BIASES, **_TIED}),
        "olmo": ({}, {**_BIAS, **_TIED}),
        "olmo2": ({}, {**_BIAS, **_TIED}),
        "olmo3": ({}, {**_BIAS, **_TIED}),
        "olmoe": ({}, {**_BIAS, **_TIED}),
        "opt": ({}, {"enable_bias": False}),
        "persimmon": ({}, {**_TIED, "qk_layernorm": False}),
        "phi": ({}, {"qk_layernorm": True}),
        "phi3": ({}, _TIED),
        "phimoe": ({}, {**_BIAS, "lm_head_bias": True}),
        "qwen2": ({}, _TIED),
        "qwen2_moe": ({}, {**_TIED, "mlp_only_layers": [0]}),
        "qwen3": ({"head_dim": 128}, {**_BIAS, **_TIED, "head_dim": 128}),
        "qwen3_5_moe_text": ({}, _BIAS),
        "qwen3_5_text": ({}, {**_BIAS, **_TIED}),
        "qwen3_moe": ({"head_dim": 128}, {**_BIAS, "mlp_only_layers": [0]}),
        "qwen3_next": ({}, {**_BIAS, "mlp_only_layers": [0]}),
        "recurrent_gemma": ({"num_hidden_layers": 26},),
        "seed_oss": ({}, {**_TIED, "attention_out_bias": True, "mlp_bias": True}),
        "smollm3": ({}, {**_BIASES, "tie_word_embeddings": False}),
        "solar_open": ({},),
        "stablelm": (
            {},
            {**_TIED, "use_parallel_residual": True, "use_qkv_bias": True, "qk_layernorm": True},
        ),
        "starcoder2": ({}, {"use_bias": False, "tie_word_embeddings": False}),
        "vaultgemma": ({}, _BIAS),
        "youtu": ({}, _BIAS),
    }
)
"""Model type → its trials."""
