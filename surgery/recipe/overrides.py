"""`--set edit[0].strength=0.5`: one value of a recipe replaced from outside.

The path is written as problems print it; the value is YAML. A key that the recipe leaves out is created where
the schema has one, starting from its default; `null` takes a key out again, where it is no value of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from surgery.errors import Problem, RecipeError
from surgery.recipe.document import Document, Path, Place, nested, path_text, removed, replaced
from surgery.recipe.section import Section
from surgery.recipe.sentences import describe, found
from surgery.recipe.shape import Shape, child, inside, member_for, required_keys, root_shape
from surgery.recipe.suggestions import clean, did_you_mean, listed
from surgery.recipe.yaml_tree import read_yaml

_PART = re.compile(r"\.?([^.\[\]=]+)|\[([0-9]{1,6})\]")


def apply_overrides(
    document: Document, overrides: Sequence[str], schema: type[Section]
) -> tuple[Document, list[Problem]]:
    """Set values in order, each as `path=value` says; the document, and the problems, placed at `--set`."""
    problems: list[Problem] = []
    for override in overrides:
        try:
            document = apply_override(document, override, root_shape(schema))
        except RecipeError as error:
            problems += error.problems
    return document, problems


def apply_override(document: Document, text: str, root: Shape) -> Document:
    """Set one value, as `path=value` says; raises RecipeError with problems placed at `--set path=value`."""
    origin = f"--set {clean(text)}"
    path_as_given, sign, value_text = text.partition("=")
    try:
        parts = _parts(path_as_given.strip())
        if not sign or not value_text.strip():
            raise _Refused("no value is given; write path=value, or path=null to take the key out")
        for index in range(len(parts)):
            document, parts = _step(document, parts, index, Place(origin), root=root)
        return _set(document, _path(parts), value_text, origin, root=root)
    except _Refused as error:
        raise RecipeError(Problem(str(error), clean(path_as_given.strip()), origin)) from None
    except RecipeError as error:
        problems = (
            replace(each, path=clean(path_as_given), line=None, column=None) for each in error.problems
        )
        raise RecipeError(*problems) from None


class _Refused(Exception):
    """The sentence that says why an override cannot be followed."""


def _parts(text: str) -> list[str | int | None]:
    parts: list[str | int | None] = []
    position = 0
    while position < len(text):
        found_part = _PART.match(text, position)
        if found_part is None or (position == 0) != (not text.startswith((".", "["), position)):
            raise _Refused("not a path; write it as problems print it, such as edit[0].strength")
        parts.append(int(found_part[2]) if found_part[2] else found_part[1].strip())
        position = found_part.end()
    if not parts:
        raise _Refused("no path is given; write path=value, such as seed=3")
    return parts


def _path(parts: list[str | int | None]) -> Path:
    return tuple(part for part in parts if part is not None)


def _step(
    document: Document, parts: list[str | int | None], index: int, place: Place, *, root: Shape
) -> tuple[Document, list[str | int | None]]:
    """Make sure that the part at `index` can be entered (the last: be set) in what stands before it."""
    before, part = _path(parts[:index]), parts[index]
    last = index == len(parts) - 1
    value, shape = document.at(before), shape_at(document, before, root)
    shorthand = shape.section.shorthand if shape.section else None
    if shorthand and not isinstance(value, dict) and isinstance(part, str):
        if part == shorthand and not last:
            return document, [*parts[:index], None, *parts[index + 1 :]]
        document = nested(document, before, shorthand)
        value = document.at(before)
    if isinstance(part, int):
        _require_item(value, part, before)
    elif isinstance(part, str):
        below = _require_key(shape, value, part, before)
        if not last:
            _require_name(shape, value, part, before)
        if not last and value.get(part) is None:
            document = _created(document, (*before, part), below, place, owner=member_for(shape, value))
    return document, parts


def shape_at(document: Document, path: Path, root: Shape) -> Shape:
    """The shape at a path; of a union the alternative that the value was meant as."""
    shape, value = root, document.value
    for index, part in enumerate(path):
        shape = child(shape, part, value) or Shape("any")
        value = document.at(path[: index + 1])
    return member_for(shape, value)


def _require_item(value: Any, number: int, before: Path) -> None:
    name = path_text(before)
    if not isinstance(value, list):
        raise _Refused(f"{name or 'the file'} is not a list")
    if number >= len(value):
        raise _Refused(f"there is no {name}[{number}]; {name} has {len(value)}, counted from 0")


def _require_key(shape: Shape, value: Any, key: str, before: Path) -> Shape:
    name = path_text(before) or "the file"
    if not isinstance(value, dict):
        raise _Refused(f"{name} is {found(value, Place(''))}; nothing below it can be set")
    below = child(shape, key, value)
    if below is None:
        allowed = list(inside(shape, value).keys())
        hint = did_you_mean(key, allowed) or f"; {name} has {listed(allowed)}"
        raise _Refused(f"unknown key '{clean(key)}'{hint}")
    return below


def _require_name(shape: Shape, value: Any, name: str, before: Path) -> None:
    """What is named by the recipe itself, such as a direction, must be there before it can be entered."""
    if inside(shape, value).kind == "mapping" and name not in value:
        hint = did_you_mean(name, value) or f"; {path_text(before)} has {listed(value)}"
        raise _Refused(f"nothing is named '{clean(name)}' there{hint}")


def _created(document: Document, path: Path, shape: Shape, place: Place, *, owner: Shape) -> Document:
    if shape.kind not in ("section", "tagged", "any"):
        raise _Refused(f"{path_text(path)} takes {describe(shape)}; nothing below it can be set")
    field = owner.section.model_fields[str(path[-1])] if owner.section else None
    default = field.get_default() if field is not None and not field.is_required() else None
    value = default.model_dump(exclude_unset=True) if isinstance(default, Section) else {}
    return replaced(document, path, value, {(): place})


def _set(document: Document, path: Path, value_text: str, origin: str, *, root: Shape) -> Document:
    read = read_yaml(value_text, origin)
    before, key = path[:-1], path[-1]
    shape = shape_at(document, before, root)
    if read.value is not None or not isinstance(key, str) or _can_be_null(shape, key):
        places = {each: Place(origin, written=place.written) for each, place in read.places.items()}
        return replaced(document, path, read.value, places)
    value = document.at(before)
    if key in required_keys(shape):
        raise _Refused("this key is required; it cannot be taken out")
    _require_name(shape, value, key, before)
    return removed(document, path) if key in value else document


def _can_be_null(shape: Shape, key: str) -> bool:
    """Whether `null` says something else than leaving the key out."""
    field = shape.section.model_fields.get(key) if shape.section else None
    return field is not None and field.default is not None and shape.keys()[key].optional
