"""Names that stand for nothing and parts that do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgery.recipe.references import check_references
from surgery.recipe.yaml_tree import read_yaml


def check(text: str, folder: Path = Path()) -> list[tuple[str, int | None, int | None, str]]:
    problems = check_references(read_yaml(text, "r.yaml"), folder)
    return [(each.path, each.line, each.column, each.message) for each in problems]


@pytest.mark.parametrize("step", ["ablate: refusl", "add: refusl, layer: 1"])
def test_a_step_names_a_direction_that_exists(step: str) -> None:
    text = "direction: {refusal: {}, b: {}}\noutput: {form: peft}\nedit:\n- {ablate: b}\n- {" + step + "}\n"
    key = step.partition(":")[0]
    said = "no direction named 'refusl'; this recipe has: refusal, b"
    assert check(text) == [(f"edit[1].{key}", 5, 6 + len(key), said)]


def test_no_direction_at_all() -> None:
    assert check("edit: [{ablate: a}]\n")[0][3] == "no direction named 'a'; this recipe has: none"


def test_an_unused_direction() -> None:
    text = "direction:\n  a: {}\n  b: {}\nedit: [{ablate: a}]\n"
    said = "no step of 'edit' uses this direction; use it, or take it out"
    assert check(text) == [("direction.b", 3, 3, said)]


@pytest.mark.parametrize("edit", ["[{ablate: a}, {strength: 1}]", "[{ablate: 1}]", "[]", "5", "{steps: 3}"])
def test_no_direction_is_called_unused_while_a_step_cannot_be_read(edit: str) -> None:
    assert check("direction: {a: {}, b: {}}\nedit: " + edit + "\n") == []


def test_a_difference_is_between_two_sets() -> None:
    body = "direction: {a: {find: difference_of_means, positive: demo:agree, negative: demo:agree}}"
    assert check(f"{body}\nedit: [{{ablate: a}}]\n") == [
        ("direction.a.negative", 1, 76, "the same prompts as 'positive'; name other ones")
    ]


def test_an_addition_cannot_be_a_checkpoint() -> None:
    text = "direction: {a: {}}\nedit: {steps: [{add: a, layer: 1}]}\noutput: {folder: o}\n"
    said = "an addition cannot be written into every family's weights; write 'form: peft' under output"
    assert check(text) == [("edit.steps[0].add", 2, 17, said)]
    assert check(text.replace("folder: o", "folder: o, form: peft")) == []


def test_an_ablation_of_some_layers_can_be_an_adapter() -> None:
    text = "direction: {a: {}}\nedit: [{ablate: a, layers: [1], writers: [mlp_out]}]\noutput: {form: peft}\n"
    assert check(text) == []


def test_columns_that_keep_their_length_cannot_be_an_adapter() -> None:
    text = "direction: {a: {}}\nedit: {steps: [{ablate: a}], keep: column_norms}\noutput: {form: peft}\n"
    ((path, line, column, said),) = check(text)
    assert (path, line, column) == ("edit.keep", 2, 36) and "no adapter holds them" in said
    assert check(text.replace("peft", "checkpoint")) == []


def test_sources_are_looked_up(demo_files: Path, tmp_path: Path) -> None:
    text = (
        "model: {source: demo:refusr}\n"
        "direction: {a: {find: file, path: a.safetensors, reconstruct: {dictionary: demo:x, k: 1}}}\n"
        "edit: [{ablate: a}]\n"
        "verify: {refusal: {prompts: demo:harmfull}, choice: {questions: {source: quiz.csv}}}\n"
    )
    found = check(text, tmp_path)
    assert [each[:3] for each in found] == [
        ("model.source", 1, 17),
        ("direction.a.path", 2, 35),
        ("direction.a.reconstruct.dictionary", 2, 76),
        ("verify.refusal.prompts", 4, 29),
        ("verify.choice.questions.source", 4, 74),
    ]
    assert "did you mean 'demo:refuser'" in found[0][3]
    assert "did you mean 'demo:harmful'" in found[3][3]


@pytest.mark.parametrize(
    "text", ["- 1", "x", "direction: 3\nedit: {steps: {a: 1}}\noutput: 5\n", "edit: [1, [2], null]"]
)
def test_what_cannot_be_read_is_left_to_the_types(text: str) -> None:
    assert check(text) == []


def test_hook_points_are_read_before_anything_runs() -> None:
    facts = "{hook_point: blocks.3.ln2.hook_normalized, output_point: mlp_out}"
    text = "direction:\n  a:\n    find: file\n    reconstruct:\n      facts: " + facts + "\n"
    ((path, line, column, said),) = check(text + "edit: [{ablate: a}]\n")
    assert (path, line, column) == ("direction.a.reconstruct.facts.output_point", 5, 71)
    assert said.startswith("expected a hook point such as 'resid_post.20', found 'mlp_out'; its sites are ")
