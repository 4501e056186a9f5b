"""The families whose writers are known. A new file of tables is added to `_FILES`, one of towers to
`_TOWER_FILES`, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from surgery.model.families import (
    approximate,
    convolved,
    dense,
    encoder_decoder,
    experts,
    gemma4,
    gpt,
    hybrids,
    layernorm,
    mergers,
    postnorm,
    projectors,
    recurrent,
    routed,
    streams,
    text,
)
from surgery.model.families.table import Family
from surgery.model.families.towers import Tower, with_tower

_FILES = (
    dense,
    postnorm,
    gemma4,
    gpt,
    layernorm,
    encoder_decoder,
    experts,
    routed,
    hybrids,
    recurrent,
    streams,
    convolved,
    text,
    approximate,
)

_TOWER_FILES = (projectors, mergers)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {name: family for file in _FILES for family in file.FAMILIES for name in family.model_types}
)
"""model_type of config.json → family."""

TOWERS: Mapping[str, Tower] = MappingProxyType(
    {name: tower for file in _TOWER_FILES for tower in file.TOWERS for name in tower.model_types}
)
"""model_type of a model that sees or hears → what is beside its text tower."""

UNPADDED = frozenset(
    [name for name, family in FAMILIES.items() if not family.pads]
    + [name for name, tower in TOWERS.items() if not tower.pads]
)
"""Model types of which only prompts of one length may share a batch."""

FILES: Mapping[str, str] = MappingProxyType(
    {
        name: file.__name__.rpartition(".")[2]
        for file, rows in (
            *((file, file.FAMILIES) for file in _FILES),
            *((file, file.TOWERS) for file in _TOWER_FILES),
        )
        for row in rows
        for name in row.model_types
    }
)
"""model_type → name of the file with its table."""


def family_of(config: Mapping[str, Any]) -> Family | None:
    """The table of a config.json, None where there is none: its own, or its text tower's with what stands
    beside that.
    """
    model_type = str(config.get("model_type"))
    tower = TOWERS.get(model_type)
    if tower is None:
        return FAMILIES.get(model_type)
    text = tower.own or FAMILIES.get(text_type(config))
    return None if text is None else with_tower(model_type, tower, text)


def text_type(config: Mapping[str, Any]) -> str:
    """The model type of the part that writes text, the model's own where it is one part."""
    model_type = str(config.get("model_type"))
    tower = TOWERS.get(model_type)
    if tower is None:
        return model_type
    part = config.get(tower.part)
    named = part.get("model_type") if isinstance(part, Mapping) else None
    return str(named or tower.text)
