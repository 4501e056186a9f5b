"""The families whose writers are known. A new file of tables is added to `_FILES`, and nowhere else."""

from __future__ import annotations

from types import MappingProxyType

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
    postnorm,
    recurrent,
    routed,
    streams,
    text,
)
from surgery.model.families.table import Family

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

FAMILIES: MappingProxyType[str, Family] = MappingProxyType(
    {name: family for file in _FILES for family in file.FAMILIES for name in family.model_types}
)
"""model_type of config.json → family."""

FILES: MappingProxyType[str, str] = MappingProxyType(
    {
        name: file.__name__.rpartition(".")[2]
        for file in _FILES
        for family in file.FAMILIES
        for name in family.model_types
    }
)
"""model_type → name of the file with its table."""
