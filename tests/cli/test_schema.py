"""`surgery schema`."""

from __future__ import annotations

import json

from click.testing import CliRunner

from surgery.cli.schema import schema
from surgery.recipe import json_schema
from surgery.recipe.page import recipe_page


def test_the_schema_is_printed_as_json() -> None:
    result = CliRunner().invoke(schema)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == json_schema()
    assert "‖" in result.stdout or "\\u" not in result.stdout


def test_the_page_for_people_is_printed_on_request() -> None:
    result = CliRunner().invoke(schema, ["--markdown"])
    assert (result.exit_code, result.stdout) == (0, recipe_page())
