"""The recipe's JSON Schema, by which an editor completes and checks a recipe while it is written."""

from __future__ import annotations

from typing import Any

from surgery.recipe.schema import Recipe

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe; every description is the docstring of the key.

    The reader accepts nothing that this schema refuses. It refuses more: names that stand for nothing, files
    that do not exist, and combinations that no schema can say.
    """
    generated = Recipe.model_json_schema()
    return {"$schema": _DIALECT, **generated, "title": "surgery recipe"}
