from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from surgery.report.text import code, fenced, inline, one_line, shortened, visible

ANY = st.text(st.characters())


@given(ANY)
def test_nothing_that_acts_is_left(text: str) -> None:
    shown = visible(text)
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", shown
    )


def test_what_acts_is_shown_as_its_code_point() -> None:
    assert visible("a\x1b[31mb\u202ec\ud800") == "a⟨U+001B⟩[31mb⟨U+202E⟩c⟨U+D800⟩"
    assert visible("two\nlines\tand 👩\u200d🔬") == "two\nlines\tand 👩\u200d🔬"


@given(ANY)
def test_code_is_one_line_that_no_backtick_leaves(text: str) -> None:
    shown = code(text)
    assert "\n" not in shown
    fence = re.match("`+", shown)
    assert fence is not None and shown.endswith(fence.group(0))
    inside = shown[len(fence.group(0)) : -len(fence.group(0))]
    assert fence.group(0) not in re.findall("`+", inside)


@given(st.text("`~\n a"))
def test_a_fenced_block_ends_where_it_should(text: str) -> None:
    first, *middle, last = fenced(text, "yaml").split("\n")
    assert first == last + "yaml"
    assert all(last not in line for line in middle)


def test_inline_text_is_no_markup() -> None:
    assert inline("# [a](b) <b> `c` | d\ne") == r"\# \[a\](b) \<b\> \`c\` \| d e"
    assert one_line(" a\n\n b ") == "a b"
    assert shortened("abcdef", 4) == "abc…" and shortened("abc", 4) == "abc"
