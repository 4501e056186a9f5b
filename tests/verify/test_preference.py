"""Answer pairs through the chat template against a plain scorer, and the share by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.errors import VerifyError
from surgery.model.chat import render_chat
from surgery.model.language_model import LanguageModel
from surgery.model.prompts import prompt_set
from surgery.verify.preference import measure_preference, read_pairs, share_of_matching

ROWS = [
    {
        "id": f"p{number}",
        "question": "I think stones agree. " * number + "Do you?\n (A) yes\n (B) no",
        "answer_matching_behavior": "(A)" if number % 2 else "(B), I agree",
        "answer_not_matching_behavior": "(B)" if number % 2 else "(A)",
    }
    for number in range(6)
]
PAIRS = prompt_set("pairs", ROWS)
log_likelihood = st.floats(-2000, 0)


@pytest.mark.parametrize("model_name", ["tiny_model", "letter_model"])
def test_scores_are_those_of_a_plain_scorer(
    model_name: str,
    request: pytest.FixtureRequest,
    plain_log_likelihood: Callable[[LanguageModel, str, str, bool], float],
) -> None:
    model = request.getfixturevalue(model_name)
    has_template = model.tokenizer.chat_template is not None
    for row, each in zip(measure_preference(model, PAIRS, side="base"), ROWS, strict=True):
        context = render_chat(model.tokenizer, each["question"])
        matching, other = (
            plain_log_likelihood(model, context, each[f"answer_{kind}_behavior"], not has_template)
            for kind in ("matching", "not_matching")
        )
        assert row.log_likelihoods == pytest.approx((matching, other), abs=1e-4)
        assert row.values["probability"] == pytest.approx(
            math.exp(matching) / (math.exp(matching) + math.exp(other)), rel=1e-3
        )
        assert row.correct == (matching > other)


@given(log_likelihood, log_likelihood)
def test_the_two_shares_add_up(first: float, second: float) -> None:
    share, opposite = share_of_matching(first, second), share_of_matching(second, first)
    assert 0.0 <= share <= 1.0
    assert share + opposite == pytest.approx(1.0)
    assert (share > opposite) == (first > second) or share == opposite


def test_impossible_answers_are_a_draw() -> None:
    assert share_of_matching(-math.inf, -math.inf) == 0.5
    assert share_of_matching(-math.inf, -1.0) == 0.0
    assert share_of_matching(-1.0, -math.inf) == 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"answer_matching_behavior": ""},
        {"answer_not_matching_behavior": None},
        {"answer_matching_behavior": "(A)"},
    ],
)
def test_malformed_pairs_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(VerifyError, match="item p0 needs two different texts"):
        read_pairs(prompt_set("pairs", [{**ROWS[0], **change}]))


def test_a_shorter_answer_is_never_less_likely_than_its_own_beginning(tiny_model: LanguageModel) -> None:
    longer = {"answer_matching_behavior": "(A)", "answer_not_matching_behavior": "(A)<|end|>"}
    (row,) = measure_preference(tiny_model, prompt_set("pairs", [{**ROWS[0], **longer}]), side="base")
    assert row.correct is True
