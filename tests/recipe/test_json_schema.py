"""The JSON Schema allows whatever the reader accepts, and explains every key."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from surgery.recipe import json_schema, load_recipe

SCHEMA = json_schema()
TYPES: dict[str, Any] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


def fits(value: Any, schema: Any) -> bool:
    """Whether a value satisfies a JSON Schema, as far as ours uses the language (draft 2020-12)."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema and not fits(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]):
        return False
    alternatives = [fits(value, each) for each in schema.get("anyOf", [])]
    exclusive = [fits(value, each) for each in schema.get("oneOf", [])]
    return (
        (not alternatives or any(alternatives))
        and (not exclusive or sum(exclusive) == 1)
        and ("type" not in schema or has_type(value, schema["type"]))
        and ("const" not in schema or value == schema["const"])
        and ("enum" not in schema or value in schema["enum"])
        and limits_hold(value, schema)
        and (not isinstance(value, dict) or keys_fit(value, schema))
        and (not isinstance(value, list) or all(fits(each, schema.get("items", True)) for each in value))
    )


def has_type(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (not isinstance(value, bool) or name == "boolean")


def limits_hold(value: Any, schema: dict[str, Any]) -> bool:
    if isinstance(value, str):
        return (
            len(value) >= schema.get("minLength", 0)
            and re.search(schema.get("pattern", ""), value) is not None
        )
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
        return bool(low <= value <= high and above < value < below)
    return True


def keys_fit(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    patterns = schema.get("patternProperties", {})
    for key, each in value.items():
        matching = [sub for pattern, sub in patterns.items() if re.search(pattern, key)]
        wanted = [known[key]] if key in known else matching or [others]
        if not all(fits(each, sub) for sub in wanted) or not fits(key, schema.get("propertyNames", True)):
            return False
    return all(key in value for key in schema.get("required", []))


def test_its_dialect_and_title() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["title"] == "surgery recipe"
    assert "$id" not in SCHEMA


def test_it_allows_a_recipe_with_both_shorthands(full: Path) -> None:
    assert load_recipe(full)
    values = yaml.safe_load(full.read_text(encoding="utf-8").replace("1e-1", "0.1"))
    assert fits(values, SCHEMA)
    values["edit"] = {"steps": values["edit"], "tied": "skip"}
    assert fits(values, SCHEMA)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("find: difference_of_means", "find: difference"),
        ("positive: demo:harmful", "positive: 5"),
        ("positive: demo:harmful", "positive: {sorce: x}"),
        ("k: 2", "k: 0"),
        ("k: 2", "k: '2'"),
        ("below: 0.9", "below: 1.5"),
        ("ablate: refusal", "ablte: refusal"),
        ("form: peft", "form: pft"),
        ("seed: 7", "sead: 7"),
        ("  saved:", "  a.b:"),
        ("writers: [attention_out, mlp_out]", "writers: [mlp]"),
    ],
)
def test_it_refuses_what_the_types_refuse(full: Path, old: str, new: str) -> None:
    text = full.read_text(encoding="utf-8").replace("1e-1", "0.1")
    assert old in text
    assert not fits(yaml.safe_load(text.replace(old, new)), SCHEMA)


def test_every_section_and_the_keys_of_choice_are_explained() -> None:
    assert all(each.get("description") for each in SCHEMA["$defs"].values())
    mapping = next(each for each in SCHEMA["$defs"]["PromptSource"]["anyOf"] if each.get("type") == "object")
    assert mapping["properties"]["count"]["description"] == "Take only this many, from the start."
