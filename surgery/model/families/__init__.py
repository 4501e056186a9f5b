"""The families whose writers are known. A new file of tables is added to `_ALL`, and nowhere else."""

from __future__ import annotations

from types import MappingProxyType

from surgery.model.families import gemma2, llama
from surgery.model.families.table import Family

_ALL = (*llama.FAMILIES, *gemma2.FAMILIES)

FAMILIES: MappingProxyType[str, Family] = MappingProxyType(
    {model_type: family for family in _ALL for model_type in family.model_types}
)
"""model_type of config.json → family."""
