"""Types and keys: one test a kind of mistake, each at its exact line and column."""

from __future__ import annotations

import pytest

from surgery.errors import Problem
from surgery.recipe.schema import Recipe
from surgery.recipe.validation import validate
from surgery.recipe.yaml_tree import read_yaml

FINDS = "difference_of_means, file, weight_difference"

HEAD = "model: {source: m}\noutput: {folder: o}\n"
DIRECTION = "direction: {d: {find: file, path: p}}\n"
EDIT = "edit: [{ablate: d}]\n"


def check(text: str) -> list[tuple[str, int | None, int | None, str]]:
    recipe, _, problems = validate(read_yaml(text, "r.yaml"), Recipe)
    assert (recipe is None) == bool(problems)
    found = [(each.path, each.line, each.column, each.message) for each in problems]
    return sorted(found, key=lambda each: (each[1], each[2]))


def test_a_right_recipe_has_no_problem() -> None:
    assert check(HEAD + DIRECTION + EDIT) == []


def marked(before: str, body: str) -> tuple[list[tuple[str, str]], bool]:
    """Check `before` + `body` + `}`; is each problem at the mark, « in the body or @ for all of it?"""
    text = before + body.replace("«", "").replace("@", "") + "}\n"
    line = text.count("\n")
    start = before.rindex("\n") + 1
    written = len(before) - start + body.index("«") if "«" in body else 2
    problems = check(text)
    at_mark = all(each[1:3] == (line, written + 1) for each in problems)
    return [(each[0], each[3]) for each in problems], at_mark


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ("«fnd: file, path: p", ".fnd", "unknown key; did you mean 'find'?"),
        ("find: «fil, path: p", ".find",
         f"expected one of {FINDS}; found 'fil'; did you mean 'file'?"),
        ("find: «5, path: p", ".find", f"expected one of {FINDS}; found 5"),
        ("find: «[file], path: p", ".find", f"expected one of {FINDS}; found a list"),
        ("@path: p", "", f"missing key 'find' (one of {FINDS}); it has only path"),
        ("@", "", f"missing key 'find' (one of {FINDS}); it is empty"),
        ("@find: file", "", "missing key 'path' (text)"),
        ("find: file, path: p, tensor: «3", ".tensor",
         "expected text, found 3, which YAML reads as a number; put it in quotes"),
        ("find: file, path: p, layer: «-1", ".layer", "expected a whole number ≥ 0, found -1"),
        ("find: file, path: p, layer: «1.0", ".layer", "expected a whole number ≥ 0, found 1.0"),
        ("find: file, path: p, layer: «true", ".layer", "expected a whole number ≥ 0, found true"),
        ("find: file, path: p, layer: «'3'", ".layer",
         "expected a whole number ≥ 0, found '3'; remove the quotes"),
        ("find: file, path: p, «positive: x", ".positive", "cannot stand beside 'file'"),
        ("find: file, path: p, «zzz: x", ".zzz",
         "unknown key; allowed here: find, path, tensor, layer, hook_point, reconstruct"),
        ("find: file, path: p, reconstruct: {dictionary: x, k: «'2 '}", ".reconstruct.k",
         "expected a whole number ≥ 1, found '2 '"),
        ("find: file, path: «''", ".path", "expected text, found an empty text"),
        ("find: difference_of_means, positive: «5, negative: n", ".positive",
         "expected text, or a mapping with 'source'; found 5, which YAML reads as a number; "
         "put it in quotes"),
        ("find: difference_of_means, positive: {«sorce: a}, negative: n", ".positive.sorce",
         "unknown key; did you mean 'source'?"),
        ("find: difference_of_means, positive: a, negative: {source: n, count: «0}", ".negative.count",
         "expected a whole number ≥ 1, found 0"),
        ("find: difference_of_means, positive: a, negative: n, select: «5", ".select",
         "expected a mapping with 'rule' or 'layer', found 5"),
        ("find: difference_of_means, positive: a, negative: n, select: {«rul: arditi}",
         ".select.rul",
         "unknown key; did you mean 'rule'?"),
        ("find: difference_of_means, positive: a, negative: n, select: {rule: «ardit}",
         ".select.rule",
         "expected 'arditi', found 'ardit'; did you mean 'arditi'?"),
        ("find: difference_of_means, positive: a, negative: n, select: {rule: arditi, «position: -1}",
         ".select.position",
         "cannot stand beside 'rule'"),
        ("find: difference_of_means, positive: a, negative: n, select: {rule: arditi, below: «1.5}",
         ".select.below",
         "expected a number > 0 and ≤ 1, found 1.5"),
        ("find: difference_of_means, positive: a, negative: n, select: {layer: 1, position: «0}",
         ".select.position",
         "expected a whole number < 0, found 0"),
    ],
)  # fmt: skip
def test_directions(body: str, path: str, message: str) -> None:
    assert marked(HEAD + EDIT + "direction:\n  d: {", body) == ([(f"direction.d{path}", message)], True)


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ("«ablte: d", ".ablte", "unknown key; did you mean 'ablate'?"),
        ("@strength: 1", "", "missing key 'ablate' or 'add'; it has only strength"),
        ("@", "", "missing key 'ablate' or 'add'; it is empty"),
        ("@add: d", "", "missing key 'layer' (a whole number ≥ 0)"),
        ("ablate: d, «add: d", ".add", "cannot stand beside 'ablate'"),
        ("ablate: d, strength: «.nan", ".strength", "expected a finite number, found .nan"),
        ("ablate: d, strength: «1e999", ".strength", "expected a finite number, found 1e999"),
        ("ablate: d, strength: «yes", ".strength", "expected a number, found yes"),
        ("ablate: d, strength: «'1'", ".strength", "expected a number, found '1'; remove the quotes"),
        ("ablate: d, writers: «al", ".writers",
         "expected 'all' or a list of words out of embedding, attention_out, mlp_out; found 'al'"),
        ("ablate: d, writers: [«mlp_ot]", ".writers[0]",
         "expected one of embedding, attention_out, mlp_out; found 'mlp_ot'; did you mean 'mlp_out'?"),
        ("ablate: d, writers: «[]", ".writers",
         "expected a list of words out of embedding, attention_out, mlp_out; found an empty list"),
        ("ablate: d, layers: «3", ".layers",
         "expected a list of whole numbers ≥ 0 or a mapping with 'first', found 3; a list of one is written"
         " [3]"),
        ("ablate: d, layers: {first: 3, «lst: 4}", ".layers.lst", "unknown key; did you mean 'last'?"),
        ("ablate: d, «layers: {first: 3, last: 2}", ".layers", "last is 2, before first, which is 3"),
        ("ablate: d, kernel: {«peek: 3, reach: 2}", ".kernel.peek", "unknown key; did you mean 'peak'?"),
        ("ablate: d, kernel: {peak: 3, reach: «0}", ".kernel.reach", "expected a number > 0, found 0"),
        ("ablate: d, layers: [1, «x]", ".layers[1]", "expected a whole number ≥ 0, found 'x'"),
        ("ablate: d, strength:«", ".strength", "expected a number, found nothing"),
        ("add: d, layer: 1, scale: {norm: «-5}", ".scale.norm", "expected a number ≥ 0, found -5"),
        ("add: d, layer: 1, «scale: {norm: 1, times: 1}", ".scale", "give exactly one of norm, times"),
    ],
)  # fmt: skip
def test_steps(body: str, path: str, message: str) -> None:
    assert marked(HEAD + DIRECTION + "edit:\n- {", body) == ([(f"edit[0]{path}", message)], True)


def test_strength_above_two_is_allowed() -> None:
    assert check(HEAD + DIRECTION + "edit: [{ablate: d, strength: -3.5}]\n") == []


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        ("refusal: {prompts: p, «edited: {}}", "refusal.edited", "give exactly one of at_most, at_least"),
        ("refusal: {prompts: p, edited: «0.05}", "refusal.edited", "expected a mapping, found 0.05"),
        ("«refusal: {}", "refusal", "missing key 'prompts' (text, or a mapping with 'source')"),
        ("choice: {questions: q, shots: «6}", "choice.shots", "expected a whole number ≥ 0 and ≤ 5, found 6"),
        ("«choice: {questions: q, shots: 5}", "choice",
         "5 shots are asked for and no examples are named; add 'examples'"),
        ("choice: {questions: q, drop: {at_most: «2}}", "choice.drop.at_most",
         "expected a number ≥ -1 and ≤ 1, found 2; 2 % is written 0.02"),
        ("«rfusal: {prompts: p}", "rfusal", "unknown key; did you mean 'refusal'?"),
    ],
)  # fmt: skip
def test_suites(body: str, path: str, message: str) -> None:
    assert marked(HEAD + DIRECTION + EDIT + "verify: {", body) == ([(f"verify.{path}", message)], True)


@pytest.mark.parametrize(
    ("text", "line", "column", "path", "message"),
    [
        ("name: no\n", 5, 7, "name", "expected text, found no, which YAML reads as false; put it in quotes"),
        (
            "name: 1.5\n",
            5,
            7,
            "name",
            "expected text, found 1.5, which YAML reads as a number; put it in quotes",
        ),
        ("seed: x\n", 5, 7, "seed", "expected a whole number ≥ 0, found 'x'"),
        ("seed: -1\n", 5, 7, "seed", "expected a whole number ≥ 0, found -1"),
        ("sead: 3\n", 5, 1, "sead", "unknown key; did you mean 'seed'?"),
    ],
)
def test_top_level(text: str, line: int, column: int, path: str, message: str) -> None:
    assert check(HEAD + DIRECTION + EDIT + text) == [(path, line, column, message)]


def test_yes_is_true_where_true_or_false_is_wanted() -> None:
    assert check("model: {source: m, trust_remote_code: yes}\noutput: {folder: o}\n" + DIRECTION + EDIT) == []
    wrong = "model: {source: m, trust_remote_code: 'yes'}\noutput: {folder: o}\n" + DIRECTION + EDIT
    assert check(wrong) == [
        ("model.trust_remote_code", 1, 39, "expected true or false, found 'yes'; remove the quotes")
    ]


def test_missing_keys_stand_at_the_whole() -> None:
    assert check("\nseed: 1\n") == [
        ("", 2, 1, "missing key 'model' (a mapping with 'source')"),
        ("", 2, 1, "missing key 'direction' (a mapping from names)"),
        (
            "",
            2,
            1,
            "missing key 'edit' (a list of mappings with 'ablate' or 'add', or a mapping with 'steps')",
        ),
        ("", 2, 1, "missing key 'output' (a mapping with 'folder')"),
    ]


@pytest.mark.parametrize(("text", "found"), [("- 1", "a list"), ("x", "'x'"), ("5", "5"), ("~", "~")])
def test_a_whole_that_is_no_mapping(text: str, found: str) -> None:
    said = f"expected a mapping with 'model', 'direction', 'edit', 'output'; found {found}"
    assert check(text) == [("", 1, 1, said)]


def test_a_name_of_a_direction_that_cannot_be_one() -> None:
    text = HEAD + EDIT + "direction: {'a.b': {find: file, path: p}}\n"
    assert check(text) == [("direction.a.b", 4, 13, "'a.b' cannot be a name; use letters, digits, _ and -")]


def test_both_spellings_of_edit_are_placed_as_they_were_written() -> None:
    assert [each[:3] for each in check(HEAD + DIRECTION + "edit: [{ablate: 1}]\n")] == [
        ("edit[0].ablate", 4, 17)
    ]
    spelt_out = check(HEAD + DIRECTION + "edit: {steps: [{ablate: 1}], tied: maybe}\n")
    assert [each[:3] for each in spelt_out] == [("edit.steps[0].ablate", 4, 25), ("edit.tied", 4, 36)]
    assert check(HEAD + DIRECTION + "edit: []\n")[0][:3] == ("edit", 4, 7)
    assert check(HEAD + DIRECTION + "edit: 3\n")[0][:3] == ("edit", 4, 7)


def test_a_misspelt_key_hides_nothing_below_it() -> None:
    text = (
        "modle: {sorce: m, dtype: float31}\noutput: {folder: o}\n"
        + DIRECTION
        + "edit: [{ablte: d, strength: x}]\n"
    )
    assert check(text) == [
        ("modle", 1, 1, "unknown key; did you mean 'model'?"),
        ("model.sorce", 1, 9, "unknown key; did you mean 'source'?"),
        ("model.dtype", 1, 26,
         "expected one of auto, float32, bfloat16, float16; found 'float31'; did you mean 'float32'?"),
        ("edit[0].ablte", 4, 9, "unknown key; did you mean 'ablate'?"),
        ("edit[0].strength", 4, 29, "expected a number, found 'x'"),
    ]  # fmt: skip


def test_the_same_key_misspelt_twice_is_reported_twice() -> None:
    text = HEAD + DIRECTION + EDIT + "sed: 1\nseeed: 2\n"
    assert [each[:3] for each in check(text)] == [("sed", 5, 1), ("seeed", 6, 1)]


def test_a_file_of_noise_is_reported_whole() -> None:
    found = check(HEAD + DIRECTION + EDIT + "".join(f"seed{number}: 1\n" for number in range(150)))
    assert [each[:3] for each in found] == [(f"seed{number}", 5 + number, 1) for number in range(150)]


def test_control_characters_are_shown_escaped() -> None:
    ((path, _, _, message),) = check(HEAD + DIRECTION + EDIT + '"\\e[31mx": 1\n')
    assert path == "\\x1b[31mx"
    assert "\x1b" not in message


def test_a_problem_is_shown_with_its_place() -> None:
    _, _, problems = validate(read_yaml(HEAD + DIRECTION + EDIT + "sed: 1\n", "r.yaml"), Recipe)
    assert problems == [Problem("unknown key; did you mean 'seed'?", "sed", "r.yaml", 5, 1)]
    assert str(problems[0]) == "r.yaml:5:1    sed: unknown key; did you mean 'seed'?"
