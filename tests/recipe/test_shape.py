"""What the schema allows, read off its annotations."""

from __future__ import annotations

from typing import Any

import pytest

from surgery.recipe.editing import Ablate
from surgery.recipe.finding import FindFile, SelectFixed
from surgery.recipe.schema import Recipe
from surgery.recipe.section import PromptSource
from surgery.recipe.sentences import describe
from surgery.recipe.shape import Shape, child, required_keys, root_shape, walk

FIND = {"find": "file", "path": "p"}


def shape_at(value: Any, *path: str | int) -> Shape:
    shape: Shape | None = root_shape()
    for part in path:
        assert shape is not None
        shape = child(shape, part, value)
        value = value[part] if isinstance(value, list) else value.get(part)
    assert shape is not None
    return shape


@pytest.mark.parametrize(
    ("value", "path", "said"),
    [
        ({}, ("seed",), "a whole number ≥ 0"),
        ({}, ("name",), "text"),
        ({"model": {}}, ("model", "dtype"), "one of auto, float32, bfloat16, float16"),
        ({"direction": {"a": FIND}}, ("direction", "a", "layer"), "a whole number ≥ 0"),
        ({"direction": {"a": FIND}}, ("direction", "a", "reconstruct"), "a mapping with 'dictionary', 'k'"),
        ({"direction": {"a": FIND}}, ("direction", "a"), "a mapping with 'find'"),
        ({"edit": [{"ablate": "a"}]}, ("edit", 0, "strength"), "a number"),
        ({"edit": {"steps": [{"add": "a"}]}}, ("edit", "steps", 0, "positions"), "'all'"),
        ({"edit": [{"add": "a"}]}, ("edit", 0), "a mapping with 'ablate' or 'add'"),
    ],
)
def test_each_place_is_described(value: Any, path: tuple[str | int, ...], said: str) -> None:
    assert describe(shape_at(value, *path)) == said


def test_unknown_places_have_no_shape() -> None:
    assert child(root_shape(), "nothing", {}) is None
    assert child(shape_at({"edit": []}, "edit"), "steps", []) is None
    assert child(shape_at({"edit": []}, "edit"), 0, []) is not None


def test_required_keys() -> None:
    assert required_keys(root_shape()) == ("model", "direction", "edit", "output")
    assert required_keys(Shape("section", section=FindFile)) == ("find", "path")


def test_walking_finds_each_section_once() -> None:
    value = {
        "direction": {
            "a": {"find": "difference_of_means", "positive": "p", "negative": {}, "select": {"layer": 1}}
        },
        "edit": [{"ablate": "a"}, {}],
        "unknown": {"source": "x"},
    }
    sections = [(path, shape.section) for path, shape, _ in walk(root_shape(), value)]
    assert [path for path, section in sections if section is PromptSource] == [
        ("direction", "a", "positive"),
        ("direction", "a", "negative"),
    ]
    assert [path for path, section in sections if section is SelectFixed] == [("direction", "a", "select")]
    assert [path for path, section in sections if section is Ablate] == [("edit", 0)]
    assert sections[0] == ((), Recipe)
