"""docs/recipe.md: every key of a recipe, made from its JSON Schema, so that it never says another thing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from surgery.recipe.json_schema import json_schema

Schema = Mapping[str, Any]
_HEAD = """# Every key of a recipe

Made by `surgery schema --markdown > docs/recipe.md`; do not edit by hand.

A recipe is YAML. A key that is not listed here is an error. A key without a default must be given; –
means that it may be left out. `--set a.b=c` on the command line overrides any of them.
"""
_TYPES = {
    "string": "text", "number": "number", "integer": "whole number", "boolean": "true or false",
    "object": "mapping", "null": "–",
}  # fmt: skip


def recipe_page() -> str:
    """The page as Markdown: the recipe first, then each kind of section in the order of its first mention."""
    schema = json_schema()
    definitions: dict[str, Schema] = schema["$defs"]
    sections = [_HEAD, _table(schema)]
    for name in _in_order(schema, definitions):
        found = definitions[name]
        sections.append(f"## {name}\n\n{_words(found)}\n\n{_table(_as_mapping(found))}")
    return "\n".join(sections).rstrip() + "\n"


def _in_order(schema: Schema, definitions: Mapping[str, Schema]) -> list[str]:
    """The definitions, each where a reader from above first meets it."""
    seen: list[str] = []

    def visit(part: Schema) -> None:
        for name in _references(part):
            if name not in seen:
                seen.append(name)
                visit(definitions[name])

    visit({name: each for name, each in schema.items() if name != "$defs"})
    return seen


def _references(part: Any) -> Iterator[str]:
    """The names of the definitions that a part of the schema refers to, in its order."""
    if isinstance(part, Mapping):
        if "$ref" in part:
            yield part["$ref"].rpartition("/")[2]
        for key, each in part.items():
            if key != "discriminator":
                yield from _references(each)
    elif isinstance(part, list):
        for each in part:
            yield from _references(each)


def _as_mapping(schema: Schema) -> Schema:
    """A section that may also be written shorter (`edit: [...]`) in its long form."""
    if "properties" in schema:
        return schema
    return next(each for each in schema["anyOf"] if "properties" in each)


def _table(schema: Schema) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    wanted = schema.get("required", ())
    for name, each in schema["properties"].items():
        default = "" if name in wanted else _default(each)
        rows.append(f"| `{name}` | {_value(each)} | {default} | {_words(each)} |")
    return "\n".join(rows) + "\n"


def _default(schema: Schema) -> str:
    value = schema.get("default")
    # that of a whole section is said by the section's own table
    return "–" if value is None or isinstance(value, dict) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _value(schema: Schema) -> str:
    """What may stand behind a key: `text`, `number ≥ 0`, a choice, a section."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    if several := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(_value(each) for each in several if each.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_value(schema['items'])}"
    if "patternProperties" in schema:
        return f"names, each with {_value(next(iter(schema['patternProperties'].values())))}"
    return _TYPES[schema["type"]] + _bounds(schema)


def _bounds(schema: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return ",".join(f" {sign} {schema[key]:g}" for key, sign in signs.items() if key in schema)


def _words(schema: Schema) -> str:
    return " ".join(schema.get("description", "").split()).replace("|", "\\|")
