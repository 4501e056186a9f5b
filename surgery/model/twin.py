"""A tiny random model of the same kind as a given one, on which an anatomy is proved before it is used.

The twin keeps what decides where things are written: model type, biases, norms, tying, activation, soft caps,
every kind of layer, whether o_proj is square, whether keys and values are shared between heads. It shrinks
only sizes. Weights are drawn at unit output scale, norm gains and biases away from their neutral values, so
that a writer that is missed, or a gain that is ignored, shows at full size instead of hiding behind an
initialisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from surgery.errors import AnatomyError

VOCABULARY = 96
D_MODEL = 32
_HEADS = 4
_HEAD_DIM_APART = 12
_D_MLP = 40
_MAX_LAYERS = 6
_IMAGE_SIZE, _PATCH_SIZE, _IMAGE_TOKENS = 28, 14, 4
_SPREAD = 0.3
_EXPERTS = 4
_POSITIONS = 64
_CORE = ("hidden_size", "num_attention_heads")
_AS_WIDE = ("word_embed_proj_dim",)
_KINDS = ("layer_types", "mlp_layer_types")
_DROPPED = (
    "auto_map",
    "quantization_config",
    "transformers_version",
    "_name_or_path",
    "dtype",
    "torch_dtype",
)


def build_twin(config: Mapping[str, Any], folder: Path, *, seed: int) -> Path:
    """Make the twin of a config.json and save it, in float32, with transformers' own writer.

    Args:
        config: the content of the model's config.json.
        folder: where to save it; made if it does not exist.
        seed: of the random weights.

    Returns:
        The folder.

    Raises:
        AnatomyError: transformers cannot build a model from this config.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            network = AutoModelForCausalLM.from_config(shrink(config), dtype=torch.float32)
    except AnatomyError:
        raise
    except Exception as error:  # config classes raise whatever their own validators do
        raise AnatomyError(
            f"model type {config.get('model_type')!r}: no twin can be built to prove anatomy on ({error});"
            " check that config.json is the model's own"
        ) from error
    _randomise(network, seed)
    with quiet_transformers():
        network.save_pretrained(folder)
    return folder


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice from transformers inside the block."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def shrink(config: Mapping[str, Any]) -> Any:
    """The twin's configuration, as a transformers config object.

    Raises:
        AnatomyError: transformers does not know the model type.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = config.get("model_type")
    if model_type not in CONFIG_MAPPING:
        raise AnatomyError(
            f"model type {model_type!r}: the installed transformers does not know it, so it cannot be proved"
        )
    kind = CONFIG_MAPPING[model_type]
    full = kind.from_dict(_kept(config)).to_dict()
    if isinstance(full.get("text_config"), dict):
        small = {**full, **_tower(full["text_config"])}
    else:
        small = {**full, **_text_sizes(full, kind.attribute_map)}
    return kind.from_dict(_kept(small))


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _DROPPED}


def _tower(text: Mapping[str, Any]) -> dict[str, Any]:
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": _IMAGE_SIZE,
        "patch_size": _PATCH_SIZE,
    }
    return {
        "text_config": {**_kept(text), **_text_sizes(text)},
        "vision_config": vision,
        "mm_tokens_per_image": _IMAGE_TOKENS,
        "boi_token_index": VOCABULARY - 3,
        "eoi_token_index": VOCABULARY - 2,
        "image_token_index": VOCABULARY - 1,
        **_SPECIAL_TOKENS,
    }


_SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

# Sizes that only some families have; put in where the config has the key.
_SMALL: dict[str, Any] = {
    "ffn_dim": _D_MLP,
    "ffn_hidden_size": _D_MLP,
    "n_inner": _D_MLP,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 28,
    "shared_intermediate_size": 28,
    "num_experts": _EXPERTS,
    "num_local_experts": _EXPERTS,
    "n_routed_experts": _EXPERTS,
    "moe_num_experts": _EXPERTS,
    "num_experts_per_tok": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
    "rotary_dim": 4,
    "index_n_heads": 2,
    "index_head_dim": 8,
    "index_topk": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_d_ssm": 64,
    "mamba_n_groups": 1,
    "mamba_d_state": 16,
    "mamba_dt_rank": 4,
    "attn_layer_period": 2,
    "attn_layer_offset": 1,
    "attn_layer_indices": [1],
    "expert_layer_period": 2,
    "expert_layer_offset": 1,
    "mlp_only_layers": [0],
    "num_dense_layers": 1,
    "lru_width": 24,
    "max_position_embeddings": _POSITIONS,
}


def _text_sizes(text: Mapping[str, Any], aliases: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Small values for every size in the config, under the config's own names for them."""
    own = dict(aliases or {})
    known = {key: text.get(own.get(key, key)) for key in (*_CORE, "head_dim", *_SMALL)}
    heads = int(known["num_attention_heads"] or 0)
    stated = known["head_dim"]
    square = stated is None or int(stated) * heads == int(known["hidden_size"] or 0)
    head_dim = D_MODEL // _HEADS if square else _HEAD_DIM_APART
    sizes: dict[str, Any] = {
        "hidden_size": D_MODEL,
        "intermediate_size": _D_MLP,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _key_value_heads(text, heads),
        "vocab_size": VOCABULARY,
        **_layers(text),
        **{key: value for key, value in _SMALL.items() if known[key]},
        **{key: _embedding_size(text, key, own) for key in _AS_WIDE if text.get(key)},
    }
    if text.get("num_kv_heads"):  # Falcon's name for the heads that keys and values have
        sizes["num_kv_heads"] = _HEADS if text["num_kv_heads"] == heads else 2
    if stated is not None:
        rotary = text.get("qk_rope_head_dim")  # in latent attention head_dim is that of the rotary part
        sizes["head_dim"] = _SMALL["qk_rope_head_dim"] if rotary == stated else head_dim
    for key in ("rope_parameters", "rope_scaling"):
        if isinstance(text.get(key), dict):
            sizes[key] = _short_factors(text[key], head_dim)
    return {own.get(key, key): value for key, value in {**sizes, **_SPECIAL_TOKENS}.items()}


def _embedding_size(text: Mapping[str, Any], key: str, aliases: Mapping[str, str]) -> int:
    return D_MODEL if text[key] == text[aliases.get("hidden_size", "hidden_size")] else D_MODEL // 2


def _key_value_heads(text: Mapping[str, Any], heads: int) -> int:
    shared = int(text.get("num_key_value_heads") or heads)
    return _HEADS if shared == heads else (1 if shared == 1 else 2)


def _layers(text: Mapping[str, Any]) -> dict[str, Any]:
    """One layer of every kind, two at least; kinds of attention and of MLP are listed side by side."""
    if text.get("attention_types"):  # GPT-Neo's own way to say it
        kinds = list(dict.fromkeys(text["attention_layers"]))
        return {"num_hidden_layers": len(kinds), "attention_types": [[kinds, 1]], "attention_layers": kinds}
    if text.get("block_types"):  # Recurrent Gemma's: a pattern that is repeated
        return {"num_hidden_layers": len(text["block_types"])}
    lists = {key: text[key] for key in _KINDS if text.get(key)}
    chosen = list(dict.fromkeys(zip(*lists.values(), strict=True)))[:_MAX_LAYERS]
    if len(chosen) < 2:
        chosen = (chosen or [()]) * 2
    columns = dict(zip(lists, map(list, zip(*chosen, strict=True)), strict=False))
    return {"num_hidden_layers": len(chosen), **columns}


def _short_factors(rope: Mapping[str, Any], head_dim: int) -> dict[str, Any]:
    """Per-frequency factors cut to the twin's head; nested by layer type where the config nests them."""
    rotary = int(head_dim * float(rope.get("partial_rotary_factor", 1.0))) // 2
    cut: dict[str, Any] = {}
    for key, value in rope.items():
        if isinstance(value, dict):
            cut[key] = _short_factors(value, head_dim)
        else:
            cut[key] = value[:rotary] if key in ("short_factor", "long_factor") else value
    return cut


def _randomise(network: Any, seed: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(network.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                parameter.add_(_SPREAD * noise)  # a gain or a bias: keep its neutral value as the centre
            else:
                fan_in = 1.0 if parameter.shape[0] == VOCABULARY else float(parameter[0].numel()) ** 0.5
                parameter.copy_(noise / fan_in)
