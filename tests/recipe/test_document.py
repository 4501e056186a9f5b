"""Changes to a document: the values change, and the places follow them."""

from __future__ import annotations

from surgery.recipe.document import Document, Place, nested, path_text, removed, renamed, replaced
from surgery.recipe.yaml_tree import read_yaml

TEXT = "a: {b: 1}\nlist:\n- x\n- {c: 2}\n"


def document() -> Document:
    return read_yaml(TEXT, "r")


def line_column(changed: Document, path: tuple[str | int, ...]) -> tuple[int, int]:
    mark = changed.place(path).value
    assert mark is not None
    return mark.line, mark.column


def test_paths_are_written_as_overrides_take_them() -> None:
    assert path_text(("edit", 0, "ablate")) == "edit[0].ablate"
    assert path_text(()) == ""


def test_the_place_of_what_is_not_written_is_that_of_its_surroundings() -> None:
    assert line_column(document(), ("list", 1, "missing", "deeper")) == (4, 3)
    assert document().at(("list", 7)) is None
    assert document().at(("a", "b", "c")) is None


def test_renaming_keeps_order_and_places() -> None:
    changed = renamed(document(), ("a",), "z")
    assert list(changed.value) == ["z", "list"]
    assert line_column(changed, ("z", "b")) == (1, 8)
    assert ("a", "b") not in changed.places


def test_replacing_inside_a_list_leaves_the_original_alone() -> None:
    original = document()
    changed = replaced(original, ("list", 1, "c"), 5, {(): Place("--set")})
    assert (changed.at(("list", 1, "c")), original.at(("list", 1, "c"))) == (5, 2)
    assert changed.place(("list", 1, "c")).origin == "--set"


def test_removing_and_nesting() -> None:
    assert removed(document(), ("a", "b")).value["a"] == {}
    changed = nested(document(), ("list",), "steps")
    assert changed.value["list"] == {"steps": ["x", {"c": 2}]}
    assert line_column(changed, ("list", "steps", 1, "c")) == line_column(document(), ("list", 1, "c"))
