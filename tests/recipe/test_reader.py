"""A recipe file is read whole, every problem at once, and nothing but RecipeError comes out of a bad one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.errors import Problem, RecipeError
from surgery.recipe import load_recipe
from surgery.recipe.editing import Ablate, Add
from surgery.recipe.finding import FindDifferenceOfMeans, FindFile, SelectArditi
from surgery.recipe.reader import MAX_BYTES, LoadedRecipe, parse_recipe
from surgery.recipe.section import PromptSource

BROKEN = """\
# two mistakes of type, one of reference
direction:
  refusal:
    fnd: file
    path: saved.safetensors
    reconstruct: {dictionary: demo:refuser, k: '2 '}
edit:
  - {ablate: refusl}
model: demo:refuser
output: {folder: out}
"""


def problems_of(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    return caught.value.problems


def test_every_part_arrives(full: Path) -> None:
    loaded = load_recipe(full)
    recipe = loaded.recipe
    refusal, saved = recipe.direction["refusal"], recipe.direction["saved"]
    assert isinstance(refusal, FindDifferenceOfMeans)
    assert refusal.positive == PromptSource(source="demo:harmful")
    assert refusal.negative == PromptSource(source="demo:harmless", count=64)
    assert refusal.select == SelectArditi(rule="arditi", layers=[1, 2], below=0.9)
    assert isinstance(saved, FindFile) and saved.layer == 3
    assert [type(step) for step in recipe.edit.steps] == [Ablate, Add]
    assert recipe.verify.drift is not None and recipe.verify.drift.kl_first is not None
    assert recipe.verify.drift.kl_first.at_most == 0.1
    assert (loaded.name, loaded.path) == ("full", full)
    assert loaded.text == full.read_text(encoding="utf-8")


def test_the_name_is_the_files_where_the_recipe_has_none(full: Path) -> None:
    path = full.with_name("other.yaml")
    path.write_text(full.read_text(encoding="utf-8").replace("name: full\n", ""), encoding="utf-8")
    assert load_recipe(path).name == "other"


def test_paths_are_relative_to_the_recipe(full: Path) -> None:
    loaded = load_recipe(str(full))
    assert loaded.resolve("a/b.jsonl") == full.parent / "a" / "b.jsonl"
    assert loaded.resolve("/a/b.jsonl") == Path("/a/b.jsonl")
    assert LoadedRecipe(loaded.recipe, None, "").resolve("a") == Path("a")
    assert loaded.resolve("~/a") == Path.home() / "a"


def test_the_home_folder_is_never_a_folder_called_tilde(full: Path) -> None:
    loaded = load_recipe(full, overrides=["output.folder='~/out'"])
    assert loaded.target == Path.home() / "out"


def test_a_byte_order_mark_and_windows_lines_are_read(full: Path) -> None:
    path = full.with_name("windows.yaml")
    path.write_bytes(b"\xef\xbb\xbf" + full.read_bytes().replace(b"\n", b"\r\n"))
    assert load_recipe(path).recipe == load_recipe(full).recipe


def test_problems_of_every_kind_come_together_in_file_order(full: Path) -> None:
    path = full.with_name("broken.yaml")
    path.write_text(BROKEN, encoding="utf-8")
    assert [str(problem) for problem in problems_of(path)] == [
        f"{path}:4:5    direction.refusal.fnd: unknown key; did you mean 'find'?",
        f"{path}:6:48    direction.refusal.reconstruct.k: expected a whole number ≥ 1, found '2 '",
        f"{path}:8:14    edit[0].ablate: no direction named 'refusl'; this recipe has: refusal",
        f"{path}:9:8    model: expected a mapping with 'source', found 'demo:refuser'",
    ]


def test_a_missing_file_names_its_neighbour(full: Path) -> None:
    path = full.with_name("ful.yaml")
    assert problems_of(path) == (Problem("there is no such file; did you mean 'full.yaml'?", "", str(path)),)


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == (
        Problem("this is a folder; name a recipe's YAML file", "", str(tmp_path)),
    )


def test_paths_that_no_system_takes(tmp_path: Path) -> None:
    assert problems_of(tmp_path / ("x" * 5000))[0].message == "the file cannot be read: File name too long"
    assert problems_of(tmp_path / "a\0b")[0].message.startswith(
        ("the file cannot be read", "there is no such")
    )


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert problems_of(path) == (
        Problem("the file is larger than 1 MB; this is not a recipe", "", str(path)),
    )


def test_text_that_is_not_utf8_has_a_place(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("seed: 1\nname: caf\xe9\n".encode("latin-1"))
    assert problems_of(path) == (
        Problem("the file is not UTF-8 text; save it as UTF-8", "", str(path), 2, 10),
    )
    path.write_bytes("seed: 1\n".encode("utf-16"))
    assert problems_of(path)[0].message == "the file is not UTF-8 text; save it as UTF-8"


def test_overrides_are_kept_and_their_problems_come_last(full: Path) -> None:
    assert load_recipe(full, overrides=["seed=3"]).recipe.seed == 3
    path = full.with_name("broken.yaml")
    path.write_text(BROKEN, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides=["seed=x", "sed=1"])
    assert [problem.file for problem in caught.value.problems] == [str(path)] * 4 + [
        "--set sed=1",
        "--set seed=x",
    ]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in pairs:
        yield from places(each, (*path, key))


OTHER_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3) | st.just(2**70),
    st.floats(),
    st.sampled_from(
        ["", "x", "no", "refusal", "saved", "demo:x", "demo:refuser", "./x", "a/b", "a/b/c", "\t", "é" * 300]
    ),
    st.lists(st.integers(0, 3) | st.text(max_size=3) | st.none(), max_size=3),
    st.dictionaries(
        st.sampled_from(["find", "rule", "layer", "add", "ablate", "source", "x"]),
        st.integers(0, 3),
        max_size=3,
    ),
    st.lists(
        st.dictionaries(
            st.sampled_from(["add", "ablate", "layer"]), st.sampled_from(["saved", 1]), max_size=2
        )
    ),
)


@st.composite
def spoilt(draw: st.DrawFn, tree: Any) -> Any:
    """The tree after one to three changes: delete, rename, replace by a value of any other type."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(tree)) or [()]))
        if path:
            tree = changed(tree, path, draw)
    return tree


def changed(tree: Any, path: tuple[Any, ...], draw: st.DrawFn) -> Any:
    head, *rest = path
    pairs = dict(tree.items() if isinstance(tree, dict) else enumerate(tree))
    if rest:
        pairs[head] = changed(pairs[head], tuple(rest), draw)
        return pairs if isinstance(tree, dict) else list(pairs.values())
    kind = draw(st.sampled_from(["delete", "rename", "replace"]))
    if kind == "replace":
        pairs[head] = draw(OTHER_VALUES)
    elif kind == "rename" and isinstance(head, str):
        new = draw(
            st.sampled_from([head[1:], head + "s", "on", "add", "find", "[key]", "k.x"]) | st.text(max_size=4)
        )
        pairs = {new if key == head else key: value for key, value in pairs.items()}
    else:
        del pairs[head]
    return pairs if isinstance(tree, dict) else list(pairs.values())


@settings(max_examples=200)
@given(data=st.data())
def test_a_spoilt_recipe_is_read_or_refused_at_a_place(
    recipe_folder: Path, full_text: str, data: st.DataObject
) -> None:
    text = yaml.safe_dump(data.draw(spoilt(yaml.safe_load(full_text))), allow_unicode=True, sort_keys=False)
    path = recipe_folder / "spoilt.yaml"
    for problem in refusal(lambda: parse_recipe(text, path=path)):
        assert_inside(problem, text, path)


def refusal(read: Callable[[], LoadedRecipe]) -> tuple[Problem, ...]:
    """The problems of a recipe, none if it is right; any other exception fails the test."""
    try:
        read()
    except RecipeError as error:
        return error.problems
    return ()


def assert_inside(problem: Problem, text: str, path: Path) -> None:
    lines = text.split("\n")
    assert problem.file == str(path)
    assert problem.line is not None and problem.column is not None
    assert 1 <= problem.line <= len(lines)
    assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
    shown = str(problem)
    assert shown.isprintable()
    assert not any(
        jargon in shown for jargon in ("pydantic", "Input should", "Extra inputs", "Section", "literal[")
    )


def test_the_shipped_recipes_name_only_known_keys() -> None:
    """Their demo files may not be built yet; every other problem is a mistake."""
    recipes = Path(__file__).parents[2] / "recipes"
    for path in sorted(recipes.glob("*.yaml")):
        mistakes = [str(each) for each in refusal(lambda path=path: load_recipe(path))]
        assert [each for each in mistakes if "is part of this package" not in each] == []
