"""One config.json a family and flag setting, as models on the Hub have them; only twins are built."""

from __future__ import annotations

from typing import Any

import pytest

from surgery.model.families.trials import TRIALS

LONG_ROPE = {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [1.5] * 48}


def _config(model_type: str, width: int, heads: int, layers: int, **settings: Any) -> dict[str, Any]:
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers}
    return {"model_type": model_type, **sizes, **settings}


CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _config("llama", 4096, 32, 32),
    "llama grouped": _config("llama", 4096, 32, 32, num_key_value_heads=8),
    "llama tied, biases": _config(
        "llama", 2048, 32, 16, tie_word_embeddings=True, attention_bias=True, mlp_bias=True
    ),
    "llama mlp bias": _config("llama", 2048, 32, 16, mlp_bias=True),
    "llama wide heads": _config("llama", 3072, 32, 2, head_dim=128),
    "mistral": _config("mistral", 4096, 32, 32, num_key_value_heads=8, sliding_window=4096),
    "mistral nemo": _config("mistral", 5120, 32, 40, num_key_value_heads=8, head_dim=128),
    "qwen2": _config("qwen2", 896, 14, 24, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2 sliding": _config("qwen2", 3584, 28, 28, use_sliding_window=True, max_window_layers=10),
    "qwen3": _config("qwen3", 1024, 16, 28, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True),
    "qwen3 bias": _config("qwen3", 4096, 32, 36, head_dim=128, attention_bias=True),
    "phi3": _config("phi3", 3072, 32, 32),
    "phi3 long": _config(
        "phi3",
        3072,
        32,
        32,
        max_position_embeddings=131072,
        original_max_position_embeddings=4096,
        rope_scaling=LONG_ROPE,
    ),
    "gemma": _config("gemma", 3072, 16, 28),
    "gemma multi-query": _config("gemma", 2048, 8, 18, num_key_value_heads=1, attention_bias=True),
    "gemma2": _config("gemma2", 2304, 8, 26),
    "gemma2 bias, untied": _config("gemma2", 3584, 16, 42, attention_bias=True, tie_word_embeddings=False),
    "gemma3_text": _config("gemma3_text", 1152, 4, 26, num_key_value_heads=1),
    "gemma3_text bias": _config("gemma3_text", 1152, 4, 26, attention_bias=True),
    "gemma3": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "num_hidden_layers": 34,
            "intermediate_size": 10240,
        },
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
