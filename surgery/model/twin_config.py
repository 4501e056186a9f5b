"""The configuration of a twin: small in every size, unchanged in all that decides what is written where.

One layer of every kind stays. Sizes that only some config classes have, or check against each other, are in
`surgery.model.twin_sizes`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from surgery.errors import AnatomyError
from surgery.model.twin_sizes import (
    APART,
    D_MLP,
    D_MODEL,
    HEAD_DIM_APART,
    HEADS,
    SIDE,
    SIDE_BY_SIDE,
    SMALL,
    STAND_INS,
    TO_STREAM,
    VOCABULARY,
)

_MAX_LAYERS = 6
_CORE = ("hidden_size", "num_attention_heads")
_AS_WIDE = ("word_embed_proj_dim",)
_KINDS = ("layer_types", "mlp_layer_types", "layers_block_type")
_TEXT_PARTS = ("text_config", "decoder")
"""Keys under which a model of several towers has the settings of the one that writes text."""
_SENSES = ("vision_config", "audio_config", "vq_config")
_A_LAYER = ("num_attention_heads_per_layer",)
_LISTED = ("activation_sparsity_pattern",)
_WHOLE = ("vocabulary_map",)
"""Groups of settings of which nothing of the model's own may stay: each entry is a token."""
_DROPPED = (
    "auto_map",
    "quantization_config",
    "transformers_version",
    "_name_or_path",
    "dtype",
    "torch_dtype",
)


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
    part = next((key for key in _TEXT_PARTS if isinstance(full.get(key), dict)), None)
    if part is not None:
        small = {**full, **_towers(full, part)}
    else:
        senses = {key: _side(full[key]) for key in _SENSES if _is_tower(full.get(key))}
        small = _with_own({**full, **_text_sizes(full, kind.attribute_map), **senses}, str(model_type))
    return kind.from_dict(_kept(small))


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        key: STAND_INS.get(value["model_type"], value) if _is_tower(value) else value
        for key, value in config.items()
        if key not in _DROPPED
    }
    return copy.deepcopy(kept)  # config classes fill in what they are given


def _towers(full: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Every tower small: the text one with its own sizes, the others narrower than its stream."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    text = full[part]
    model_type = str(text.get("model_type"))
    aliases = CONFIG_MAPPING[model_type].attribute_map if model_type in CONFIG_MAPPING else {}
    towers = {key: _side(value) for key, value in full.items() if _is_tower(value) and key != part}
    small = _with_own({**_kept(text), **_text_sizes(text, aliases)}, model_type)
    joined = {key: value for key, value in SIDE_BY_SIDE.items() if full.get(key)}
    joined |= {key: D_MODEL for key in TO_STREAM if full.get(key)}
    return {
        **_with_own({**towers, **joined}, str(full["model_type"])),
        part: _with_small_tokens(small),
        **_with_small_tokens({key: full[key] for key in full if _is_token(key)}),
        **_SPECIAL_TOKENS,
    }


def _is_tower(value: Any) -> bool:
    return isinstance(value, dict) and "model_type" in value


def _is_token(key: str) -> bool:
    return key.endswith(("token_id", "token_index"))


def _with_small_tokens(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same with every special token inside the vocabulary, each its own."""
    small = dict(config)
    names = [key for key in sorted(config) if _is_token(key) and type(config[key]) is int]
    for offset, key in enumerate(name for name in names if name not in _SPECIAL_TOKENS):
        small[key] = VOCABULARY - 1 - offset
    return small


def _side(tower: Mapping[str, Any]) -> dict[str, Any]:
    """A tower with a stream of its own."""
    small = {key: _side(value) if _is_tower(value) else value for key, value in _kept(tower).items()}
    small |= {key: size for key, size in SIDE.items() if tower.get(key)}
    small |= {key: D_MODEL for key in TO_STREAM if tower.get(key)}
    if tower.get("per_layer_config"):
        small["per_layer_config"] = {}
    small |= {key: list(tower[key])[:1] for key in _KINDS if isinstance(tower.get(key), list)}
    return _with_own(small, str(tower["model_type"]))


def _with_own(sizes: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """The same with what this model type checks by itself; a group of settings is changed in part."""
    own = {
        key: {**sizes[key], **value}
        if isinstance(value, dict) and isinstance(sizes.get(key), dict) and key not in _WHOLE
        else value
        for key, value in APART.get(model_type, {}).items()
    }
    return {**sizes, **own}


_SPECIAL_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def _text_sizes(text: Mapping[str, Any], aliases: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Small values for every size in the config, under the config's own names for them."""
    own = dict(aliases or {})
    known = {key: text.get(own.get(key, key)) for key in (*_CORE, "head_dim", *SMALL)}
    heads = int(known["num_attention_heads"] or 0)
    stated = known["head_dim"]
    square = stated is None or int(stated) * heads == int(known["hidden_size"] or 0)
    head_dim = D_MODEL // HEADS if square else HEAD_DIM_APART
    sizes: dict[str, Any] = {
        "hidden_size": D_MODEL,
        "intermediate_size": D_MLP,
        "num_attention_heads": HEADS,
        "num_key_value_heads": _key_value_heads(text, heads),
        "vocab_size": VOCABULARY,
        **_layers(text),
        **{key: value for key, value in SMALL.items() if known[key]},
        **{key: _embedding_size(text, key, own) for key in _AS_WIDE if text.get(key)},
    }
    if text.get("num_kv_heads"):  # Falcon's name for the heads that keys and values have
        sizes["num_kv_heads"] = HEADS if text["num_kv_heads"] == heads else 2
    if stated is not None:
        rotary = text.get("qk_rope_head_dim")  # in latent attention head_dim is that of the rotary part
        sizes["head_dim"] = SMALL["qk_rope_head_dim"] if rotary == stated else head_dim
    for key in ("rope_parameters", "rope_scaling"):
        if isinstance(text.get(key), dict):
            sizes[key] = _short_factors(text[key], head_dim)
    return {own.get(key, key): value for key, value in {**sizes, **_SPECIAL_TOKENS}.items()}


def _embedding_size(text: Mapping[str, Any], key: str, aliases: Mapping[str, str]) -> int:
    return D_MODEL if text[key] == text[aliases.get("hidden_size", "hidden_size")] else D_MODEL // 2


def _key_value_heads(text: Mapping[str, Any], heads: int) -> int:
    shared = int(text.get("num_key_value_heads") or heads)
    return HEADS if shared == heads else (1 if shared == 1 else 2)


def _layers(text: Mapping[str, Any]) -> dict[str, Any]:
    """One layer of every kind, two at least; kinds of attention and of MLP are listed side by side."""
    if text.get("attention_types"):  # GPT-Neo's own way to say it
        kinds = list(dict.fromkeys(text["attention_layers"]))
        return {"num_hidden_layers": len(kinds), "attention_types": [[kinds, 1]], "attention_layers": kinds}
    if text.get("block_types"):  # Recurrent Gemma's: a pattern that is repeated
        return {"num_hidden_layers": len(text["block_types"])}
    lists = {key: text[key] for key in _KINDS if text.get(key)}
    own = {int(layer): sizes for layer, sizes in (text.get("per_layer_config") or {}).items()}
    layers = _one_of_each(list(zip(*lists.values(), strict=True)))
    if shared := text.get("num_kv_shared_layers"):  # the last layers take keys and values from earlier ones
        layers, shared = layers * 2, len(layers)
    return {
        "num_hidden_layers": len(layers),
        **{key: [kinds[layer] for layer in layers] for key, kinds in lists.items()},
        **{key: [HEADS] * len(layers) for key in _A_LAYER if text.get(key)},
        **{key: [text[key][layer] for layer in layers] for key in _LISTED if text.get(key)},
        **({"num_kv_shared_layers": shared} if "num_kv_shared_layers" in text else {}),
        **({"per_layer_config": _re_indexed(own, layers)} if own else {}),
    }


def _one_of_each(kinds: Sequence[Any]) -> list[int]:
    layers = [index for index, kind in enumerate(kinds) if kind not in kinds[:index]][:_MAX_LAYERS]
    return layers if len(layers) > 1 else (layers or [0]) * 2


def _re_indexed(own: Mapping[int, Mapping[str, Any]], layers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The sizes that single layers have of their own, for the layers that the twin keeps."""
    sizes = {**SMALL, "head_dim": HEAD_DIM_APART, "num_attention_heads": HEADS}
    small: dict[int, dict[str, Any]] = {}
    for index, layer in enumerate(layers):
        if layer in own:
            heads = int(own[layer].get("num_attention_heads") or 0)
            sizes["num_key_value_heads"] = _key_value_heads(own[layer], heads)
            small[index] = {key: sizes.get(key, value) for key, value in own[layer].items()}
    return small


def _short_factors(rope: Mapping[str, Any], head_dim: int) -> dict[str, Any]:
    """Per-frequency factors cut to the twin's head; nested by layer type where the config nests them."""
    rotary = int(head_dim * float(rope.get("partial_rotary_factor", 1.0))) // 2
    cut: dict[str, Any] = {}
    for key, value in rope.items():
        if isinstance(value, dict):
            cut[key] = _short_factors(value, head_dim)
        elif key == "mrope_section":  # how many frequencies turn with time, height and width
            cut[key] = _sections(value, rotary)
        else:
            cut[key] = value[:rotary] if key in ("short_factor", "long_factor") else value
    return cut


def _sections(sections: Sequence[int], rotary: int) -> list[int]:
    """The frequencies shared out anew: evenly, the rest to the part that differs from the others."""
    even = [rotary // len(sections)] * len(sections)
    apart = next((i for i, size in enumerate(sections) if sections.count(size) == 1), 0)
    even[apart] += rotary - sum(even)
    return even
