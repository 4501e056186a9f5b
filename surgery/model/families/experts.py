"""Mixtures of experts."""

from __future__ import annotations

from surgery.model.families.table import Family

FAMILIES: tuple[Family, ...] = ()
