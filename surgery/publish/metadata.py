"""The metadata of a model card, checked before anything is sent: the front matter of README.md.

The fields are those of the Hub's model cards (huggingface.co/docs/hub/model-cards). Only what would mislead
or be refused is a problem; a field that nobody here knows is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from surgery.errors import UploadError
from surgery.hub import is_hub_id

CARD = "README.md"
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_RELATIONS = ("adapter", "finetune", "merge", "quantized")


def read_card(folder: Path) -> str:
    """The text of a folder's card.

    Raises:
        UploadError: there is none, or it is not UTF-8.
    """
    path = folder / CARD
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UploadError(
            f"{path}: cannot be read, and nothing is published without a card: {error}"
        ) from error


def card_fields(text: str) -> dict[str, Any]:
    """The front matter of a card; empty where there is none that can be read, which `card_problems` says."""
    found = _FRONT_MATTER.match(text)
    try:
        fields = yaml.safe_load(found.group(1)) if found else None
    except yaml.YAMLError:
        return {}
    return fields if isinstance(fields, dict) else {}


def card_body(text: str) -> str:
    """A card without its front matter."""
    found = _FRONT_MATTER.match(text)
    return text[found.end() :] if found else text


def card_problems(text: str) -> list[str]:
    """What is wrong with a card's metadata, one sentence each."""
    fields = card_fields(text)
    if not fields:
        return [f"{CARD}: does not begin with front matter between two lines of ---, as YAML `key: value`"]
    problems = (*_base(fields), *_licence(fields), *_lists(fields))
    return [f"{CARD}: {problem}" for problem in problems]


def _base(fields: dict[str, Any]) -> Iterator[str]:
    base, relation = fields.get("base_model"), fields.get("base_model_relation")
    for each in base if isinstance(base, list) else [base]:
        if each is not None and not (isinstance(each, str) and is_hub_id(each)):
            yield f"base_model: {each!r} is not a Hub id like 'organisation/name'"
    if relation is not None and relation not in _RELATIONS:
        yield f"base_model_relation: {relation!r} is none of {', '.join(_RELATIONS)}"


def _licence(fields: dict[str, Any]) -> Iterator[str]:
    licence = fields.get("license")
    if licence is None:
        return
    if not (isinstance(licence, str) and _LICENCE_ID.fullmatch(licence)):
        yield f"license: {licence!r} is not a licence id of the Hub; write `other` and a license_name"
    elif licence == "other" and not isinstance(fields.get("license_name"), str):
        yield "license: is `other`, and no license_name says which"


def _lists(fields: dict[str, Any]) -> Iterator[str]:
    tags = fields.get("tags")
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        yield "tags: is not a list of words"
    for key in ("library_name", "pipeline_tag"):
        if fields.get(key) is not None and not isinstance(fields[key], str):
            yield f"{key}: {fields[key]!r} is not one word"
