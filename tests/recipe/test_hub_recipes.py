"""The recipes for models on the Hub: nothing is wrong with them but the files that a user brings."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgery.errors import RecipeError
from surgery.recipe import load_recipe
from surgery.recipe.reader import parse_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "hub").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_only_the_user_s_own_files_are_missing(path: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as found:
        load_recipe(path)
    assert all("there is no file" in str(problem) for problem in found.value.problems)
    for name in ("harmful.txt", "harmless.txt", "phi3_refusal.safetensors"):
        (tmp_path / name).write_text("x")
    loaded = parse_recipe(path.read_text(encoding="utf-8"), path=tmp_path / path.name)
    wanted = loaded.recipe.direction["refusal"].reconstruct
    assert wanted is not None and wanted.path is not None


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_says_what_was_reported_and_what_was_measured(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for heading in ("# Follows:", "# Needs:", "# Expect:  reported by the authors", "measured here: not yet"):
        assert heading in text
    assert f"surgery apply recipes/hub/{path.name}" in text


def test_there_are_the_seed_s_three_cases() -> None:
    assert [path.stem for path in RECIPES] == ["gemma1_refusal_k6", "gemma2_refusal_k4", "phi3_refusal_k2"]
