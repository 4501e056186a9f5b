"""A recipe as plain data with the place of every key and value, and the few ways in which it may be changed.

A change returns a new document: `replaced`, `removed`, `renamed`, `nested`. The places follow the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from surgery.errors import Problem
from surgery.recipe.suggestions import clean

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Mark:
    """A position in a text; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Place:
    """Where one value stands: the file (or override) it came from, its key, itself."""

    origin: str
    key: Mark | None = None
    value: Mark | None = None
    written: str | None = None
    """A plain (unquoted) scalar as it was written, `no` for False; None for everything else."""

    def problem(self, message: str, path: str = "", *, at_key: bool = False) -> Problem:
        """A problem standing here: at the value, or at its key where it has one."""
        mark = (self.key or self.value) if at_key else self.value
        line, column = (mark.line, mark.column) if mark else (None, None)
        return Problem(message, path, self.origin, line, column)


@dataclass(frozen=True)
class Document:
    """A recipe as plain data (dict, list, str, int, float, bool, None); `()` is the path of the whole."""

    value: Any
    places: dict[Path, Place]

    def place(self, path: Path) -> Place:
        """The place of `path`, or of the nearest thing around it that is written down."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def at(self, path: Path) -> Any:
        """The value at `path`; None where there is none."""
        value = self.value
        for part in path:
            value = _below(value, part)
        return value

    def problem(self, path: Path, message: str, *, at_key: bool = False) -> Problem:
        """A problem with what stands at `path`."""
        return self.place(path).problem(message, path_text(path), at_key=at_key)


def path_text(path: Path) -> str:
    """`direction.refusal.k`, `edit[0].ablate`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{clean(part)}" if text else clean(part)
    return text


def replaced(document: Document, path: Path, value: Any, places: dict[Path, Place]) -> Document:
    """Put `value` at `path`; `places` are those of the value, relative to it."""
    kept = {each: place for each, place in document.places.items() if each[: len(path)] != path}
    moved = {(*path, *each): place for each, place in places.items()}
    return Document(_put(document.value, path, value), kept | moved)


def removed(document: Document, path: Path) -> Document:
    """Take the key at the end of `path` out of its mapping."""
    *parent, key = path
    left = {name: each for name, each in document.at(tuple(parent)).items() if name != key}
    kept = {each: place for each, place in document.places.items() if each[: len(path)] != path}
    return Document(_put(document.value, tuple(parent), left), kept)


def renamed(document: Document, path: Path, name: str) -> Document:
    """Give the key at the end of `path` another name, in the same position."""
    *parent, key = path
    fixed = {name if each == key else each: value for each, value in document.at(tuple(parent)).items()}
    places = {_rebased(each, path, (*parent, name)): place for each, place in document.places.items()}
    return Document(_put(document.value, tuple(parent), fixed), places)


def nested(document: Document, path: Path, key: str) -> Document:
    """Turn the value at `path` into a mapping that holds it under `key`."""
    places = {_rebased(each, path, (*path, key)): place for each, place in document.places.items()}
    places[path] = document.place(path)
    return Document(_put(document.value, path, {key: document.at(path)}), places)


def _rebased(path: Path, old: Path, new: Path) -> Path:
    return (*new, *path[len(old) :]) if path[: len(old)] == old else path


def _put(inside: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    part, rest = path[0], path[1:]
    if isinstance(part, int):
        return [_put(each, rest, value) if number == part else each for number, each in enumerate(inside)]
    return {**inside, part: _put(inside.get(part), rest, value)}


def _below(value: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return value[part] if isinstance(value, list) and part < len(value) else None
    return value.get(part) if isinstance(value, dict) else None
