"""The JSON file beside a dictionary's weights, and typed values out of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgery.errors import DictionaryError


def read_config(path: Path, name: str) -> Mapping[str, Any]:
    """A JSON object from a file.

    Raises:
        DictionaryError: the file is missing, not valid JSON, or no object.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DictionaryError(f"{name}: no {path.name} there, so it cannot be told what this is") from error
    except ValueError as error:
        raise DictionaryError(f"{name}: {path.name} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise DictionaryError(f"{name}: {path.name} is not a JSON object")
    return config


def table(value: Any) -> Mapping[str, Any]:
    """A JSON object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def whole_number(value: Any) -> int | None:
    """A whole number ≥ 1, or None for anything else (a bool is no number)."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def positive_number(value: Any) -> float | None:
    """A finite number above 0, or None."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
    return float(value) if good else None
