"""The recipe's types: shorthands, kinds and limits."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from surgery.recipe.editing import Ablate, Add, Edit, Kernel, LayerRange, Scale
from surgery.recipe.finding import Reconstruct
from surgery.recipe.reader import parse_recipe
from surgery.recipe.section import PromptSource
from surgery.recipe.verifying import Gate


def test_a_text_is_a_prompt_source() -> None:
    assert PromptSource.model_validate("demo:harmful") == PromptSource(source="demo:harmful")


def test_a_list_is_an_edit_and_its_steps_may_be_values() -> None:
    steps = [Ablate(ablate="a"), Add(add="b", layer=1)]
    written = [{"ablate": "a"}, {"add": "b", "layer": 1}]
    assert Edit.model_validate(written) == Edit(steps=steps) == Edit.model_validate({"steps": written})


@pytest.mark.parametrize("step", [5, None, [], {}, {"strength": 1.0}, "ablate"])
def test_what_is_no_step_is_refused_and_never_crashes(step: object) -> None:
    with pytest.raises(ValidationError):
        Edit.model_validate([step])


@pytest.mark.parametrize("kind", [Gate, Scale])
def test_exactly_one_limit(kind: type[Gate] | type[Scale]) -> None:
    with pytest.raises(ValidationError, match="exactly one of"):
        kind()


def test_sections_are_frozen_strict_and_finite() -> None:
    step = Ablate(ablate="a", strength=-3)
    with pytest.raises(ValidationError, match="frozen"):
        step.strength = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Ablate(ablate="a", strength=float("inf"))
    with pytest.raises(ValidationError):
        Reconstruct.model_validate({"dictionary": "d", "k": "2"})


def test_the_page_on_edits_names_every_key_and_its_recipe_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "edits.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    head = "model: {source: 'demo:refuser'}\ndirection: {refusal: {find: file, path: x.safetensors}}\n"
    edit = parse_recipe(head + block[1] + "output: {folder: out}\n", look_for_files=False).recipe.edit
    assert edit.model_dump(exclude={"steps"}) == Edit(steps=list(edit.steps)).model_dump(exclude={"steps"})
    for section in (Edit, Ablate, Kernel, LayerRange):
        for key in section.model_fields:
            assert re.search(rf"\b{key}\b", page), key
