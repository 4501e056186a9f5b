"""One config.json a family and flag setting, as models on the Hub have them; only twins are built."""

from __future__ import annotations

from typing import Any

import pytest

from surgery.model.families.trials import TRIALS

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

SAMPLE = (
    "bloom",
    "deepseek_v3",
    "deepseek_v4",
    "diffusion_gemma",
    "doge",
    "fast_vlm",
    "falcon",
    "gemma4_text",
    "glm4",
    "gpt2",
    "gpt_oss",
    "idefics",
    "inkling_text",
    "kimi_k25",
    "llava",
    "mbart",
    "nemotron_h",
    "olmo_hybrid",
    "opt",
    "phi",
    "pix2struct",
    "qwen3_next",
    "qwen3_vl_moe",
    "t5gemma2",
    "udop",
    "vision-encoder-decoder",
    "zamba2",
)
"""The model types beside those of `CONFIGS` that every test run tries; the slow one tries all."""


def trials(*model_types: str) -> list[Any]:
    """Parameters of a test: one config.json a trial of these model types (all by default)."""
    return [
        pytest.param({"model_type": model_type, **settings}, id=f"{model_type} {index}")
        for model_type in model_types or TRIALS
        for index, settings in enumerate(TRIALS[model_type])
    ]
