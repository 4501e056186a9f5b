"""Sets of prompts, questions or answer pairs, read from JSONL, JSON, CSV or plain text.

A set is known by its content: `sha256` covers the items in order, so two runs on the same numbers can be told
apart from two runs on the same file name.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surgery.errors import SourceError

PROMPT_FIELDS = ("prompt", "instruction", "goal", "question", "text")


@dataclass(frozen=True)
class Item:
    """One row of a set; `fields` holds every column, `prompt` the one that is asked."""

    id: str
    prompt: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class PromptSet:
    """Items in file order, with the hash of their content, and of the whole file they are from."""

    name: str
    items: tuple[Item, ...]
    sha256: str
    file_sha256: str | None = None

    @property
    def prompts(self) -> list[str]:
        return [item.prompt for item in self.items]


def read_prompts(
    path: Path, *, name: str | None = None, field: str | None = None, count: int | None = None
) -> PromptSet:
    """Read a set of prompts.

    Args:
        field: the column that is asked; by default the first of `PROMPT_FIELDS` that the rows have.
        count: keep only the first `count` rows.

    Raises:
        SourceError: the file is missing, empty, malformed, too short, or has no such column.
    """
    name = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error.strerror}); name a file of prompts") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{name}: cannot be read as UTF-8 text: {error}") from error
    rows = _parse(text, path.suffix.lower(), name)
    if not rows:
        raise SourceError(f"{name}: holds no rows")
    if count is not None and len(rows) < count:
        raise SourceError(f"{name}: holds {len(rows)} rows, and the recipe asks for {count}")
    found = prompt_set(name, rows[:count], field=field)
    return replace(found, file_sha256=hashlib.sha256(text.encode()).hexdigest())


def prompt_set(name: str, rows: Iterable[Mapping[str, Any]], *, field: str | None = None) -> PromptSet:
    """A set from rows already in memory; see `read_prompts`."""
    items = tuple(_item(row, number, field, name) for number, row in enumerate(rows))
    content = json.dumps([dict(item.fields) for item in items], sort_keys=True, ensure_ascii=False)
    return PromptSet(name, items, hashlib.sha256(content.encode()).hexdigest())


def _item(row: Mapping[str, Any], number: int, field: str | None, name: str) -> Item:
    column = field or next((each for each in PROMPT_FIELDS if each in row), None)
    if column is None or not isinstance(row.get(column), str):
        wanted = column or " or ".join(PROMPT_FIELDS)
        if column is not None and column in row:
            kind = type(row[column]).__name__
            raise SourceError(f"{name}: row {number + 1} holds no text under {wanted!r}; it holds: {kind}")
        raise SourceError(f"{name}: row {number + 1} has no text under {wanted!r}; it has: {', '.join(row)}")
    return Item(str(row.get("id", number)), row[column], dict(row))


def _parse(text: str, suffix: str, name: str) -> list[Mapping[str, Any]]:
    if suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text)))
    if suffix == ".json" and text.lstrip().startswith("["):
        return [_row(row, number, name) for number, row in enumerate(_json(text, name, 1))]
    if suffix in (".jsonl", ".json"):
        lines = [(number, line) for number, line in enumerate(text.split("\n")) if line.strip()]
        return [_row(_json(line, name, number + 1), number, name) for number, line in lines]
    return [{"prompt": line} for line in text.split("\n") if line.strip()]


def _json(text: str, name: str, line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SourceError(f"{name}:{line}: not valid JSON: {error}") from error


def _row(value: Any, number: int, name: str) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"prompt": value}
    if not isinstance(value, dict):
        raise SourceError(f"{name}:{number + 1}: expected an object or a text, found {type(value).__name__}")
    return value
