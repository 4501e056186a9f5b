"""docs/recipe.md: every key, as the schema has it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from surgery.recipe import json_schema
from surgery.recipe.page import recipe_page

PAGE = Path(__file__).parents[2] / "docs/recipe.md"


def test_the_page_in_the_repository_is_the_one_that_is_made() -> None:
    assert PAGE.read_text(encoding="utf-8") == recipe_page(), "surgery schema --markdown > docs/recipe.md"


def test_every_section_of_the_schema_stands_there_once_with_all_its_keys() -> None:
    page = recipe_page()
    for name, schema in json_schema()["$defs"].items():
        parts = re.split(rf"^## {name}$", page, flags=re.MULTILINE)
        assert len(parts) == 2, name
        section = parts[1].split("\n## ")[0]
        found = schema if "properties" in schema else schema["anyOf"][1]
        for key in found["properties"]:
            assert f"\n| `{key}` |" in section, (name, key)


def test_every_link_leads_to_a_section() -> None:
    page = recipe_page()
    headings = {line[3:].lower() for line in page.splitlines() if line.startswith("## ")}
    links = set(re.findall(r"\]\(#([a-z]+)\)", page))
    assert links and links <= headings


@pytest.mark.parametrize(
    "row",
    [
        "| `k` | whole number ≥ 1 |  | Number of distinct features. |",
        "| `below` | number > 0, ≤ 1 | `0.8` |",
        '| `form` | `checkpoint`, `peft` | `"checkpoint"` |',
        "| `steps` | list of [Ablate](#ablate) or [Add](#add) |",
    ],
)
def test_a_row_says_what_may_stand_there_and_what_stands_there_by_default(row: str) -> None:
    assert f"\n{row}" in recipe_page()
