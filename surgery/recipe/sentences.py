"""What was expected and what was found, in plain words."""

from __future__ import annotations

import math
from typing import Any

from surgery.recipe.document import Place
from surgery.recipe.shape import Kind, Shape, required_keys
from surgery.recipe.suggestions import clean, did_you_mean, listed, quoted
from surgery.recipe.yaml_tree import reading, resolve_plain

_ONE: dict[Kind, str] = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "bool": "true or false",
    "mapping": "a mapping from names",
    "any": "anything",
}
_MANY: dict[Kind, str] = {"text": "texts", "integer": "whole numbers", "number": "numbers"}


def expected(shape: Shape, value: Any, place: Place) -> str:
    """`expected a whole number ≥ 1, found '2 '`, with the cure where there is an obvious one."""
    wanted = describe(shape)
    if shape.kind == "number" and isinstance(value, float) and not math.isfinite(value):
        wanted = "a finite number"
    sign = ";" if "," in wanted else ","
    return f"expected {wanted}{sign} found {found(value, place)}{_cure(shape, value, place)}"


def describe(shape: Shape) -> str:
    """What a shape allows: `a whole number ≥ 1`, `one of nearest, feedback`, `a mapping with 'source'`."""
    if shape.kind == "choice":
        return quoted(shape.choices[0]) if len(shape.choices) == 1 else f"one of {listed(shape.choices)}"
    if shape.kind == "list" and shape.items:
        return f"a list of {_plural(shape.items)}"
    if shape.kind == "either":
        return " or ".join(describe(member) for member in shape.members)
    if shape.kind == "section" and shape.section and shape.section.shorthand:
        return f"{describe(shape.keys()[shape.section.shorthand])}, or {_mapping(shape)}"
    if shape.kind in ("section", "tagged"):
        return _mapping(shape)
    return " ".join([_ONE[shape.kind], *_bounds(shape)])


def found(value: Any, place: Place) -> str:
    """A value as it was written; containers by their kind alone."""
    if isinstance(value, dict | list):
        return ("an empty " if not value else "a ") + ("mapping" if isinstance(value, dict) else "list")
    if isinstance(value, str):
        return quoted(value) if value else "an empty text"
    if value is None:
        return "nothing" if not place.written else clean(place.written)
    return clean(place.written or str(value))


def _plural(shape: Shape) -> str:
    if shape.kind == "choice":
        return f"words out of {listed(shape.choices)}"
    if shape.kind in _MANY:
        return " ".join([_MANY[shape.kind], *_bounds(shape)])
    return _mapping(shape).replace("a mapping", "mappings")


def _mapping(shape: Shape) -> str:
    keys = shape.tag_keys() if shape.kind == "tagged" else required_keys(shape)
    joint = " or " if shape.kind == "tagged" else ", "
    return f"a mapping with {joint.join(map(quoted, keys))}" if keys else "a mapping"


def _bounds(shape: Shape) -> list[str]:
    return [" and ".join(shape.bounds)] if shape.bounds else []


def _cure(shape: Shape, value: Any, place: Place) -> str:
    """What to write instead, where a quote too many or too few is the whole mistake."""
    section = shape.section
    takes_text = shape.kind == "text" or (section is not None and section.shorthand == "source")
    if place.written and takes_text and not isinstance(value, str):
        return f", which YAML reads as {reading(value)}; put it in quotes"
    if isinstance(value, str) and shape.kind == "choice":
        return did_you_mean(value, shape.choices)
    if "≤ 1" in shape.bounds and isinstance(value, int | float) and 2 <= abs(value) <= 100:
        return f"; {value:g} % is written {value / 100:g}"
    wanted = {"integer": int, "number": int | float, "bool": bool}.get(shape.kind)
    if isinstance(value, str) and place.written is None and wanted and isinstance(_unquoted(value), wanted):
        return "; remove the quotes"
    in_union = any(member.kind == "list" for member in shape.members) and not isinstance(value, str)
    if (shape.kind == "list" or in_union) and isinstance(value, int | str) and not isinstance(value, bool):
        return "; a list of one is written [" + found(value, place).strip("'") + "]"
    return ""


def _unquoted(text: str) -> Any:
    try:
        return resolve_plain(text)
    except ValueError:
        return None
