"""The families whose writers are known. A new file of tables is added to `_FILES`, and nowhere else."""

from __future__ import annotations

from types import MappingProxyType

from surgery.model.families import (
    approximate,
    convolved,
    dense,
    encoder_decoder,
    experts,
    gemma2,
    gemma4,
    gpt,
    hybrids,
    layernorm,
    llama,
    postnorm,
    recurrent,
    routed,
    streams,
    text,
)
from surgery.model.families.table import Family

_FILES = {
    "llama": llama.FAMILIES,
    "dense": dense.FAMILIES,
    "gemma2": gemma2.FAMILIES,
    "postnorm": postnorm.FAMILIES,
    "gemma4": gemma4.FAMILIES,
    "gpt": gpt.FAMILIES,
    "layernorm": layernorm.FAMILIES,
    "experts": experts.FAMILIES,
    "routed": routed.FAMILIES,
    "hybrids": hybrids.FAMILIES,
    "recurrent": recurrent.FAMILIES,
    "streams": streams.FAMILIES,
    "convolved": convolved.FAMILIES,
    "text": text.FAMILIES,
    "encoder_decoder": encoder_decoder.FAMILIES,
    "approximate": approximate.FAMILIES,
}

FAMILIES: MappingProxyType[str, Family] = MappingProxyType(
    {
        model_type: family
        for families in _FILES.values()
        for family in families
        for model_type in family.model_types
    }
)
"""model_type of config.json → family."""

FILES: MappingProxyType[str, str] = MappingProxyType(
    {
        model_type: file
        for file, families in _FILES.items()
        for family in families
        for model_type in family.model_types
    }
)
"""model_type → name of the file with its table."""
