"""YAML is read as data alone, with places, and nothing hostile gets through."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from surgery.errors import Problem, RecipeError
from surgery.recipe.yaml_tree import MAX_DEPTH, MAX_NODES, read_yaml, resolve_plain


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "r.yaml")
    return caught.value.problems


def only(text: str) -> tuple[str, int | None, int | None]:
    (problem,) = problems_of(text)
    return problem.message, problem.line, problem.column


def test_values_keys_and_items_have_their_places() -> None:
    document = read_yaml("a:\n  - {b: 1}\n  - x\n", "r.yaml")
    assert document.value == {"a": [{"b": 1}, "x"]}
    places = {path: (place.key, place.value) for path, place in document.places.items()}
    shown = {
        path: tuple(mark and (mark.line, mark.column) for mark in marks) for path, marks in places.items()
    }
    assert shown == {
        (): (None, (1, 1)),
        ("a",): ((1, 1), (2, 3)),
        ("a", 0): (None, (2, 5)),
        ("a", 0, "b"): ((2, 6), (2, 9)),
        ("a", 1): (None, (3, 5)),
    }


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-3", 0.001),
        ("1", 1),
        ("-1_000", -1000),
        ("0x1F", 31),
        ("0o17", 15),
        (".5", 0.5),
        ("2.", 2.0),
        ("~", None),
        ("", None),
        ("Null", None),
        ("True", True),
        ("yes", True),
        ("Off", False),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("y", "y"),
        ("0.1.2", "0.1.2"),
        ("1__0", "1__0"),
        ("demo:refuser", "demo:refuser"),
    ],
)
def test_plain_words(word: str, value: object) -> None:
    resolved = resolve_plain(word)
    assert resolved == value
    assert type(resolved) is type(value)


def test_not_a_number_and_infinity_are_numbers() -> None:
    assert math.isnan(resolve_plain(".nan"))
    assert resolve_plain("-.INF") == -math.inf


def test_a_leading_zero_is_never_guessed() -> None:
    assert only("k: 010") == (
        "'010' starts with 0, which may mean octal; drop the 0 or put it in quotes",
        1,
        4,
    )


def test_huge_integers_are_refused() -> None:
    assert only("k: 9223372036854775808") == ("a whole number must lie within ±2⁶³; put text in quotes", 1, 4)
    message, line, column = only("k: " + "9" * 10_000)
    assert message == "a number of 10000 characters cannot be meant; put text in quotes"
    assert (line, column) == (1, 4)


def test_quoted_words_are_text() -> None:
    assert read_yaml("a: '1'\nb: \"no\"\nc: |\n  1e3\n", "r").value == {"a": "1", "b": "no", "c": "1e3\n"}


def test_every_duplicate_key_is_reported() -> None:
    problems = problems_of("a: 1\nb:\n  c: 1\n  c: {d: 1, d: 2}\na: 2\n")
    assert [(each.message, each.line, each.column) for each in problems] == [
        ("the key 'c' stands twice", 4, 3),
        ("the key 'd' stands twice", 4, 13),
        ("the key 'a' stands twice", 5, 1),
    ]


def test_keys_that_are_not_text() -> None:
    assert only("on: 1") == ("YAML reads the key 'on' as true; put it in quotes", 1, 1)
    assert only("a: {1: 2}") == ("YAML reads the key '1' as a number; put it in quotes", 1, 5)
    assert only("? [a]\n: 1") == ("a key must be text, not a list or a mapping", 1, 3)


def test_billion_laughs_stop_at_the_first_anchor() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert only("\n".join(lines)) == (
        "anchors (&) and aliases (*) are not read; write the value out, or quote it",
        1,
        5,
    )


@pytest.mark.parametrize(
    "tag", ["!!python/object:os.system", "!!python/object/apply:os.system", "!!str", "!x", "!"]
)
def test_tags_are_refused(tag: str) -> None:
    message, line, column = only(f"a: {tag} [ls]" if "python" in tag else f"a: {tag} ls")
    assert message.endswith("is not read; a recipe is plain data")
    assert (line, column) == (1, 4)


def test_deep_nesting_stops_at_the_limit() -> None:
    assert only("[" * 100_000) == (f"nested deeper than {MAX_DEPTH} levels", 1, MAX_DEPTH + 2)
    assert only("- " * 100_000 + "x")[0] == f"nested deeper than {MAX_DEPTH} levels"


def test_many_values_stop_at_the_limit() -> None:
    begin = time.perf_counter()
    message, _, _ = only("[" + "1," * 400_000 + "]")
    assert message == f"more than {MAX_NODES:,} values; this is not a recipe"
    assert time.perf_counter() - begin < 20


def test_tabs() -> None:
    assert only("a:\n\tb: 1") == ("a tab stands here; YAML is indented with spaces", 2, 1)


def test_characters_that_no_file_can_hold() -> None:
    assert only("a: 1\nb: x\x00y") == ("the character '\\x00' cannot stand in YAML", 2, 5)
    assert only("a: x\u2028y") == ("the character '\\u2028' cannot stand in YAML", 1, 5)
    assert only('a: "\\0"') == ("the text holds a character that cannot be written to a file", 1, 4)
    assert only('a: "\\ud800"') == ("the text holds a character that cannot be written to a file", 1, 4)


def test_escapes_beyond_unicode() -> None:
    assert only('a: "\\UFFFFFFFF"')[0] == "not valid YAML: a character or a number out of range follows"


def test_a_second_document() -> None:
    assert only("a: 1\n---\nb: 2\n") == ("a second document starts here; a recipe is one document", 2, 1)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_file(text: str) -> None:
    assert only(text) == ("the file is empty; write what is to be done", 1, 1)


def test_broken_syntax_stands_inside_the_file() -> None:
    assert only("a: [1,\n")[1:] == (2, 1)
    assert only("a: b: c") == ("no ':' is expected here; look for wrong indentation or a quote", 1, 5)
    assert only('a: "x')[0].startswith("not valid YAML: ")


def test_problems_before_broken_syntax_are_kept() -> None:
    first, second = problems_of("a: 1\na: 2\nb: [")
    assert (first.line, first.message) == (2, "the key 'a' stands twice")
    assert second.line == 3


YAML_ALPHABET = "ab:,-?[]{}#&*!|>'\"%@` \n\t\\01.~<=\x00\x85é"


@given(st.text(alphabet=YAML_ALPHABET, max_size=60))
@example("%YAML 1." + "9" * 5000)
@example("a: \u2028 [")
def test_any_text_is_read_or_refused_at_a_place(text: str) -> None:
    try:
        document = read_yaml(text, "r.yaml")
    except RecipeError as error:
        lines = text.split("\n")
        for problem in error.problems:
            assert problem.line is not None and problem.column is not None
            assert 1 <= problem.line <= len(lines)
            assert problem.column >= 1
    else:
        assert_plain(document.value)


def assert_plain(value: Any) -> None:
    assert type(value) in (dict, list, str, int, float, bool, type(None))
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        assert_plain(each)
