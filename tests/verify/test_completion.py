"""Where a context ends and an answer begins."""

from __future__ import annotations

import pytest

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel, chat_tokens
from surgery.verify.completion import Completion, chat_completions, log_likelihoods, plain_completions


class _Pieces:
    """A tokenizer that knows a few texts by heart."""

    chat_template = None

    def __init__(self, pieces: dict[str, list[int]]) -> None:
        self.pieces = pieces

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": self.pieces[text]}


def _knowing(pieces: dict[str, list[int]]) -> LanguageModel:
    return LanguageModel(None, _Pieces(pieces), "pieces")


def test_context_and_answers_spell_the_whole_text(tiny_model: LanguageModel) -> None:
    answers = (" A", " fern", " steal a boat")
    for answer, each in zip(answers, plain_completions(tiny_model, "Answer:", answers), strict=True):
        assert tiny_model.tokenizer.decode([*each.context, *each.answer]) == "Answer:" + answer


def test_answers_open_the_reply(tiny_model: LanguageModel) -> None:
    first, second = chat_completions(tiny_model, "yes or no?", ("yes", "no"))
    assert first.context == second.context == tuple(chat_tokens(tiny_model, "yes or no?"))
    assert tiny_model.tokenizer.decode(first.answer) == "yes"


def test_a_token_that_reaches_over_the_border_belongs_to_every_answer() -> None:
    model = _knowing({"Answer:": [1, 2], "Answer: A": [1, 7], "Answer: B": [1, 2, 4]})
    assert plain_completions(model, "Answer:", (" A", " B")) == (
        Completion((1,), (7,)),
        Completion((1,), (2, 4)),
    )


@pytest.mark.parametrize(
    "pieces",
    [
        {"Q": [1], "Q A": [1, 3], "Q B": [1, 3]},
        {"Q": [1], "Q A": [1], "Q B": [1, 3]},
        {"Q": [1], "Q A": [5], "Q B": [6]},
    ],
)
def test_answers_without_a_token_of_their_own_are_refused(pieces: dict[str, list[int]]) -> None:
    with pytest.raises(VerifyError, match="cannot tell the answers ' A', ' B' apart"):
        plain_completions(_knowing(pieces), "Q", (" A", " B"))


def test_short_and_long_answers_come_back_in_order(tiny_model: LanguageModel) -> None:
    texts = (" A", " steal a boat", " B", " river stone")
    completions = plain_completions(tiny_model, "Answer:", texts)
    alone = [log_likelihoods(tiny_model, [each])[0] for each in completions]
    assert log_likelihoods(tiny_model, completions) == pytest.approx(alone, abs=1e-5)
    assert {len(each.answer) for each in completions} > {1}
    assert log_likelihoods(tiny_model, []) == []
