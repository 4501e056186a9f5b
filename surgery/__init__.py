"""surgery: steered and abliterated checkpoints of open-weight language models.

The public names are loaded when they are first used, so importing the package costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surgery.apply import apply as apply
    from surgery.dictionary.dictionary import Dictionary as Dictionary
    from surgery.dictionary.source import open_dictionary as open_dictionary
    from surgery.direction.direction import Direction as Direction
    from surgery.recipe.reader import load_recipe as load_recipe

_HOMES = {
    "Dictionary": "surgery.dictionary.dictionary",
    "Direction": "surgery.direction.direction",
    "apply": "surgery.apply",
    "load_recipe": "surgery.recipe.reader",
    "open_dictionary": "surgery.dictionary.source",
}

__all__ = ["Dictionary", "Direction", "apply", "load_recipe", "open_dictionary"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'surgery' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Keeps `surgery.apply` the function: importing the module of that name would put the module in its
    place."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value.apply if name == "apply" and isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Package
