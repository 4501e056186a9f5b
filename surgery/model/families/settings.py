"""What a config.json says of a model's size and layout, under the names that its family has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.errors import AnatomyError
from surgery.model.families.table import Family, WriterRow

_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""Keys of config.json, any of which says how many experts a layer has."""

_MOST_BLOCKS = 1_000_000
"""Layers times experts; the largest models have some ten thousands, and each is looked for by its name."""


def count(settings: Mapping[str, Any], key: str) -> int:
    """A whole number that must be there; of names given as `a|b` the first that is, a list counted.

    Raises:
        AnatomyError: it is not a whole number from 1 on.
    """
    names = key.split("|")
    value = next((settings[name] for name in names if settings.get(name) is not None), settings.get(names[0]))
    if len(names) > 1 and isinstance(value, list | str):
        return len(value)
    if type(value) is not int or value < 1:
        raise AnatomyError(
            f"config.json: {names[0]} must be a whole number >= 1, found {value!r}; use the model's own"
            " config.json"
        )
    return value


def expert_count(rows: tuple[WriterRow, ...], settings: Mapping[str, Any]) -> int:
    """How many experts a layer has, 0 where no row speaks of them."""
    if not any("{expert}" in row.pattern for row in rows):
        return 0
    key = next((key for key in _EXPERT_COUNTS if key in settings), _EXPERT_COUNTS[0])
    return count(settings, key)


def check_size(n_layers: int, n_experts: int) -> None:
    """Refuse a config.json whose layers and experts would take for ever to look for.

    Raises:
        AnatomyError: there are more than any model has.
    """
    if n_layers * max(n_experts, 1) > _MOST_BLOCKS:
        experts = f" of {n_experts:,} experts" if n_experts else ""
        raise AnatomyError(
            f"config.json: speaks of {n_layers:,} layers{experts}, more than any model has; use the model's"
            " own config.json"
        )


def is_tied(family: Family, config: Mapping[str, Any]) -> bool:
    """Whether the embedding is also the unembedding."""
    settings = family.text_settings(config)
    if family.text_config == "decoder":  # a whole model, which goes by its own word
        config = settings
    said = config.get("tie_word_embeddings", settings.get("tie_word_embeddings", family.tied_by_default))
    return bool(said)


def layer_type(settings: Mapping[str, Any], layer: int | None) -> str:
    """The kind of a layer, as `layer_types` names it.

    Raises:
        AnatomyError: it does not name every layer's.
    """
    kinds = settings.get("layer_types")
    if not isinstance(kinds, list | tuple) or layer is None or layer >= len(kinds):
        raise AnatomyError(
            f"config.json: layer_types must name the kind of every layer, found {kinds!r}; use the model's"
            " own config.json"
        )
    return str(kinds[layer])
