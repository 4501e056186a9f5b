"""What form alone gives away, and what it must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.verify.degeneration import degeneration

WORDS = [
    f"{first}{second}" for first in ("wa", "fe", "ri", "sto") for second in ("ter", "rn", "ver", "ne", "lly")
]


@given(st.permutations(WORDS))
def test_distinct_words_are_language(words: list[str]) -> None:
    assert degeneration(" ".join(words)) is None


@given(st.permutations(WORDS).flatmap(lambda words: st.tuples(st.just(words[:8]), st.integers(4, 9))))
def test_a_phrase_over_and_over_is_a_loop(case: tuple[list[str], int]) -> None:
    words, times = case
    assert degeneration(" ".join(words * times)) == "words in a loop"


@pytest.mark.parametrize(
    "text",
    [
        "Ha ha ha ha!",
        "No, no, no, no.",
        "10000000000000000000000000000000000000000000000000000",
        "0.333333333333333333333333333333333333333333333333333333",
        "😀👍",
        ":)",
        "A. 1\nB. 2\nC. 3\nD. 4",
        "| pot | water |\n|---|---|\n| fern | weekly |\n| cactus | monthly |",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily.",
        "for i in range(3): print(i); print(i + 1); print(i + 2)",
    ],
)
def test_odd_but_sound_replies_pass(text: str) -> None:
    assert degeneration(text) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("?!?!?!", "no letters"),
        ("a " + ". , ; : ! " * 8, "hardly any letters"),
        ("\ufffd\ufffd\ufffd\ufffd und so", "broken characters"),
        ("Sure: " + "no " * 14, "words in a loop"),
        ("waterwaterwaterwaterwaterwaterwaterwaterwater", "characters in a loop"),
        (
            " ".join(
                ("fern pot", "pot fern", "fern fern pot", "pot pot fern")[number * 7 % 4]
                for number in range(13)
            ),
            None,
        ),
    ],
)
def test_faults_are_named(text: str, fault: str | None) -> None:
    found = degeneration(text)
    assert found == fault if fault else found is not None
