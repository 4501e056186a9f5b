"""`surgery schema`."""

from __future__ import annotations

import json

from click.testing import CliRunner

from surgery.cli.schema import schema
from surgery.recipe import json_schema


def test_the_schema_is_printed_as_json() -> None:
    result = CliRunner().invoke(schema)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == json_schema()
    assert "‖" in result.stdout or "\\u" not in result.stdout
