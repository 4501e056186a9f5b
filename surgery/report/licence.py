"""The licence of a model, as its own card names it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)


def read_licence(folder: Path) -> str | None:
    """The licence in the front matter of a folder's README.md: `apache-2.0`; for `other` the name that
    stands beside it.

    None where there is no card, or it does not say; a licence file's text is not guessed at.
    """
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = _FRONT_MATTER.match(text)
    fields = _fields(found.group(1)) if found else {}
    licence = fields.get("license")
    if licence == "other":
        licence = fields.get("license_name", licence)
    return licence if isinstance(licence, str) and licence.strip() else None


def _fields(front_matter: str) -> dict[str, Any]:
    try:
        fields = yaml.safe_load(front_matter)
    except yaml.YAMLError:
        return {}
    return fields if isinstance(fields, dict) else {}
