"""`--set path=value`: what it changes, what it creates, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from surgery.errors import Problem, RecipeError
from surgery.recipe import Recipe, load_recipe
from surgery.recipe.document import Document
from surgery.recipe.editing import Ablate
from surgery.recipe.finding import FindDifferenceOfMeans, SelectArditi
from surgery.recipe.overrides import apply_override
from surgery.recipe.shape import root_shape
from surgery.recipe.yaml_tree import read_yaml


def with_set(full: Path, *overrides: str) -> Recipe:
    return load_recipe(full, overrides=overrides).recipe


def value_after(text: str, override: str) -> Any:
    return apply_override(read_yaml(text, "r.yaml"), override, root_shape()).value


def refused(full: Path, override: str) -> tuple[str, str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(full, overrides=[override])
    (problem,) = caught.value.problems
    assert problem.line is None and problem.column is None
    assert problem.file == f"--set {override}"
    return problem.path, problem.message


def test_values_are_yaml(full: Path) -> None:
    recipe = with_set(
        full, "direction.refusal.reconstruct.k=4", "edit[0].strength=1e-3", "edit[0].writers=[mlp_out]"
    )
    refusal, step = recipe.direction["refusal"], recipe.edit.steps[0]
    assert refusal.reconstruct is not None and refusal.reconstruct.k == 4
    assert isinstance(step, Ablate) and (step.strength, step.writers) == (0.001, ["mlp_out"])


def test_both_spellings_of_an_edit(full: Path) -> None:
    assert with_set(full, "edit[0].strength=0.5") == with_set(full, "edit.steps[0].strength=0.5")
    assert with_set(full, "edit.rounding=feedback").edit.rounding == "feedback"


def test_a_later_override_wins(full: Path) -> None:
    assert with_set(full, "seed=1", "seed=2").seed == 2


def test_optional_keys_are_created(full: Path) -> None:
    recipe = with_set(full, "verify.drift.tokens=8", "verify.control=0", "model.revision=main")
    assert recipe.verify.drift is not None and recipe.verify.drift.tokens == 8
    assert (recipe.verify.control, recipe.model.revision) == (0, "main")


def test_a_created_section_starts_from_its_default(full: Path) -> None:
    recipe = with_set(full, "direction.refusal.select=null", "direction.refusal.select.train=64")
    refusal = recipe.direction["refusal"]
    assert isinstance(refusal, FindDifferenceOfMeans)
    assert refusal.select == SelectArditi(rule="arditi", train=64)


def test_a_shorthand_is_spelt_out_when_one_of_its_keys_is_set(full: Path) -> None:
    recipe = with_set(full, "verify.refusal.prompts.count=10")
    assert recipe.verify.refusal is not None
    assert recipe.verify.refusal.prompts.model_dump(exclude_none=True) == {
        "source": "demo:harmful_test",
        "count": 10,
    }


def test_null_takes_an_optional_key_out(full: Path) -> None:
    recipe = with_set(full, "verify.drift=null", "seed=null", "name=~", "verify.perplexity=null")
    assert recipe.verify.drift is None
    assert (recipe.seed, recipe.name) == (0, None)


def test_directions_can_be_added_and_taken_out() -> None:
    assert value_after("direction: {a: {}}", "direction.b={find: file}") == {
        "direction": {"a": {}, "b": {"find": "file"}}
    }
    assert value_after("direction: {a: {}, b: {}}", "direction.b=null") == {"direction": {"a": {}}}


@pytest.mark.parametrize(
    ("override", "path", "message"),
    [
        ("seed=x", "seed", "expected a whole number ≥ 0, found 'x'"),
        ("sead=3", "sead", "unknown key 'sead'; did you mean 'seed'?"),
        ("zzz=3", "zzz",
         "unknown key 'zzz'; the file has name, seed, model, direction, edit, verify, output, resolved"),
        ("direction.refusl.reconstruct.k=4", "direction.refusl.reconstruct.k",
         "nothing is named 'refusl' there; did you mean 'refusal'?"),
        ("direction.refusal.recontruct.k=4", "direction.refusal.recontruct.k",
         "unknown key 'recontruct'; did you mean 'reconstruct'?"),
        ("edit[7].strength=1", "edit[7].strength", "there is no edit[7]; edit has 2, counted from 0"),
        ("seed[0]=1", "seed[0]", "seed is not a list"),
        ("seed.x=1", "seed.x", "seed is 7; nothing below it can be set"),
        ("verify.control.x=1", "verify.control.x",
         "verify.control takes a whole number ≥ 0; nothing below it can be set"),
        ("edit[0].strength", "edit[0].strength",
         "no value is given; write path=value, or path=null to take the key out"),
        ("seed= ", "seed", "no value is given; write path=value, or path=null to take the key out"),
        ("=3", "", "no path is given; write path=value, such as seed=3"),
        ("a..b=3", "a..b", "not a path; write it as problems print it, such as edit[0].strength"),
        ("edit[x]=3", "edit[x]", "not a path; write it as problems print it, such as edit[0].strength"),
        (".seed=3", ".seed", "not a path; write it as problems print it, such as edit[0].strength"),
        ("direction.refusl=null", "direction.refusl",
         "nothing is named 'refusl' there; did you mean 'refusal'?"),
        ("output.folder=null", "output.folder", "this key is required; it cannot be taken out"),
        ("seed=!!int 3", "seed", "the tag 'tag:yaml.org,2002:int' is not read; a recipe is plain data"),
        ("verify.choice.shots=2", "verify.choice",
         "missing key 'questions' (text, or a mapping with 'source')"),
        ("edit[0].ablate=refusl", "edit[0].ablate",
         "no direction named 'refusl'; this recipe has: refusal, saved"),
        ("verify.drift.kl_first={at_mst: 1}", "verify.drift.kl_first.at_mst",
         "unknown key; did you mean 'at_most'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_set(full: Path, override: str, path: str, message: str) -> None:
    assert refused(full, override) == (path, message)


def test_syntax_in_a_value(full: Path) -> None:
    path, message = refused(full, "seed=[1")
    assert path == "seed" and message.startswith("not valid YAML: ")


def test_an_override_mends_the_file() -> None:
    document = apply_override(read_yaml("seed: x\n", "r.yaml"), "seed=3", root_shape())
    assert isinstance(document, Document)
    assert document.value == {"seed": 3}
    assert document.problem(("seed",), "m") == Problem("m", "seed", "--set seed=3")
    assert document.problem((), "m") == Problem("m", "", "r.yaml", 1, 1)
