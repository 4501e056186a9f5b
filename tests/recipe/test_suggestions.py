"""The nearest word, and values that are safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.recipe.suggestions import clean, did_you_mean, listed, nearest, quoted


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("fnd", "find"),
        ("Find", "find"),
        ("hook-point", "hook_point"),
        ("Hook Point", "hook_point"),
        ("qqq", None),
        ("", None),
    ],
)
def test_the_nearest_word(word: str, expected: str | None) -> None:
    assert nearest(word, ["find", "hook_point", "path"]) == expected


def test_the_sentence() -> None:
    assert did_you_mean("fnd", ["find"]) == "; did you mean 'find'?"
    assert did_you_mean("qqq", ["find"]) == ""
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == "none"
    assert quoted("a\nb") == "'a\\nb'"


@given(st.text())
def test_what_is_shown_is_short_and_printable(text: str) -> None:
    shown = clean(text)
    assert shown.isprintable()
    assert shown == text or len(text) > 60 or not text.isprintable()
    assert len(shown) <= 600
