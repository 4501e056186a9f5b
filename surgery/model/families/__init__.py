"""The families whose writers are known. A new file of tables is added to `_ALL`, and nowhere else."""

from __future__ import annotations

from types import MappingProxyType

from surgery.model.families import dense, experts, gemma2, gpt, hybrids, llama, postnorm
from surgery.model.families.table import Family

_ALL = (
    *llama.FAMILIES,
    *dense.FAMILIES,
    *gemma2.FAMILIES,
    *postnorm.FAMILIES,
    *gpt.FAMILIES,
    *experts.FAMILIES,
    *hybrids.FAMILIES,
)

FAMILIES: MappingProxyType[str, Family] = MappingProxyType(
    {model_type: family for family in _ALL for model_type in family.model_types}
)
"""model_type of config.json → family."""
