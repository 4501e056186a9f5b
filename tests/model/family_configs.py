"""One config.json a family and flag setting, as models on the Hub have them; only twins are built."""

from __future__ import annotations

from typing import Any

import pytest

LONG_ROPE = {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.5] * 48}
GEMMA3_TEXT = {"hidden_size": 2560, "num_hidden_layers": 34, "intermediate_size": 10240}

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32},
    "llama grouped": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
    },
    "llama tied, biases": {
        "model_type": "llama",
        "hidden_size": 2048,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "tie_word_embeddings": True,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "llama mlp bias": {
        "model_type": "llama",
        "hidden_size": 2048,
        "num_attention_heads": 32,
        "num_hidden_layers": 16,
        "mlp_bias": True,
    },
    "llama wide heads": {
        "model_type": "llama",
        "hidden_size": 3072,
        "num_attention_heads": 32,
        "head_dim": 128,
        "num_hidden_layers": 2,
    },
    "mistral": {
        "model_type": "mistral",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_hidden_layers": 32,
        "sliding_window": 4096,
    },
    "mistral nemo": {
        "model_type": "mistral",
        "hidden_size": 5120,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_hidden_layers": 40,
    },
    "qwen2": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "num_hidden_layers": 24,
        "tie_word_embeddings": True,
    },
    "qwen2 sliding": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "num_attention_heads": 28,
        "num_hidden_layers": 28,
        "use_sliding_window": True,
        "max_window_layers": 10,
    },
    "qwen3": {
        "model_type": "qwen3",
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "num_hidden_layers": 28,
        "tie_word_embeddings": True,
    },
    "qwen3 bias": {
        "model_type": "qwen3",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "head_dim": 128,
        "num_hidden_layers": 36,
        "attention_bias": True,
    },
    "phi3": {"model_type": "phi3", "hidden_size": 3072, "num_attention_heads": 32, "num_hidden_layers": 32},
    "phi3 long": {
        "model_type": "phi3",
        "hidden_size": 3072,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rope_scaling": LONG_ROPE,
    },
    "gemma": {"model_type": "gemma", "hidden_size": 3072, "num_attention_heads": 16, "num_hidden_layers": 28},
    "gemma multi-query": {
        "model_type": "gemma",
        "hidden_size": 2048,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "num_hidden_layers": 18,
        "attention_bias": True,
    },
    "gemma2": {
        "model_type": "gemma2",
        "hidden_size": 2304,
        "num_attention_heads": 8,
        "num_hidden_layers": 26,
    },
    "gemma2 bias, untied": {
        "model_type": "gemma2",
        "hidden_size": 3584,
        "num_attention_heads": 16,
        "num_hidden_layers": 42,
        "attention_bias": True,
        "tie_word_embeddings": False,
    },
    "gemma3_text": {
        "model_type": "gemma3_text",
        "hidden_size": 1152,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "num_hidden_layers": 26,
    },
    "gemma3_text bias": {
        "model_type": "gemma3_text",
        "hidden_size": 1152,
        "num_attention_heads": 4,
        "num_hidden_layers": 26,
        "attention_bias": True,
    },
    "gemma3": {
        "model_type": "gemma3",
        "text_config": {"model_type": "gemma3_text", **GEMMA3_TEXT},
        "vision_config": {"model_type": "siglip_vision_model"},
    },
}
"""What each is called → config.json."""


VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "apertus": (
        {},
        {"attention_bias": True, "tie_word_embeddings": True},
    ),
    "arcee": (
        {},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "biogpt": ({},),
    "bitnet": (
        {},
        {"attention_bias": True},
    ),
    "codegen": ({},),
    "cohere": (
        {},
        {"attention_bias": True, "use_qk_norm": True, "tie_word_embeddings": False},
    ),
    "cohere2": (
        {},
        {"attention_bias": True, "tie_word_embeddings": False},
    ),
    "cwm": (
        {},
        {"mlp_bias": True},
    ),
    "diffllama": (
        {},
        {"attention_bias": True},
    ),
    "ernie4_5": (
        {},
        {"use_bias": True, "tie_word_embeddings": False},
    ),
    "exaone4": (
        {},
        {"tie_word_embeddings": True},
    ),
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
    "glm": (
        {},
        {"attention_bias": False, "tie_word_embeddings": True},
    ),
    "glm4": (
        {},
        {"attention_bias": False, "tie_word_embeddings": True},
    ),
    "gpt-sw3": ({},),
    "gpt2": (
        {},
        {"tie_word_embeddings": False},
    ),
    "gpt_bigcode": (
        {},
        {"multi_query": False},
    ),
    "gpt_neo": ({},),
    "gpt_neox": (
        {},
        {"use_parallel_residual": False, "attention_bias": False, "tie_word_embeddings": True},
    ),
    "gptj": ({},),
    "granite": (
        {"residual_multiplier": 0.22, "embedding_multiplier": 12.0},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "granite_swa": (
        {"residual_multiplier": 0.22, "embedding_multiplier": 12.0},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    ),
    "helium": (
        {},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "hunyuan_v1_dense": (
        {"head_dim": 128},
        {"head_dim": 128, "attention_bias": True, "tie_word_embeddings": True},
    ),
    "internlm3": (
        {},
        {"attention_bias": True, "mlp_bias": True},
    ),
    "iquestcoder": (
        {},
        {"attention_bias": True, "mlp_bias": True},
    ),
    "jais2": (
        {},
        {"attention_bias": False, "mlp_bias": False},
    ),
    "minicpm3": (
        {},
        {"attention_bias": True, "mlp_bias": True},
    ),
    "ministral": ({"head_dim": 128},),
    "ministral3": (
        {},
        {"tie_word_embeddings": True},
    ),
    "mpt": ({},),
    "nanochat": (
        {},
        {"attention_bias": True},
    ),
    "nemotron": (
        {},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "olmo": (
        {},
        {"attention_bias": True, "tie_word_embeddings": True},
    ),
    "olmo2": (
        {},
        {"attention_bias": True, "tie_word_embeddings": True},
    ),
    "olmo3": (
        {},
        {"attention_bias": True, "tie_word_embeddings": True},
    ),
    "opt": (
        {},
        {"enable_bias": False},
    ),
    "persimmon": (
        {},
        {"qk_layernorm": False, "tie_word_embeddings": True},
    ),
    "phi": (
        {},
        {"qk_layernorm": True},
    ),
    "seed_oss": (
        {},
        {"attention_out_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    ),
    "smollm3": (
        {},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    ),
    "stablelm": (
        {},
        {
            "use_parallel_residual": True,
            "use_qkv_bias": True,
            "qk_layernorm": True,
            "tie_word_embeddings": True,
        },
    ),
    "starcoder2": (
        {},
        {"use_bias": False, "tie_word_embeddings": False},
    ),
    "vaultgemma": (
        {},
        {"attention_bias": True},
    ),
    "youtu": (
        {},
        {"attention_bias": True},
    ),
}
"""Model type → settings of its config class that are tried, each beside the class's own defaults."""

SAMPLE = ("cohere", "falcon", "glm4", "gpt2", "opt", "phi")
"""The model types of `VARIANTS` that every test run tries; the slow one tries all."""


def variants(*model_types: str) -> list[Any]:
    """Parameters of a test: one config.json a variant, with its name; all those of `VARIANTS` by default."""
    return [
        pytest.param({"model_type": model_type, **settings}, id=f"{model_type} {index}")
        for model_type in model_types or VARIANTS
        for index, settings in enumerate(VARIANTS[model_type])
    ]
