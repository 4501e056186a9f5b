"""The MMLU prompt letter by letter, and its scores against a plain scorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel
from surgery.model.prompts import prompt_set
from surgery.verify import completion
from surgery.verify.choice import measure_choice, read_questions, render_question

ROWS: list[dict[str, Any]] = [
    {
        "id": f"q{number}",
        "subject": "river_stones",
        "question": " Which stone follows " + "a stone and " * number + "a river? ",
        "choices": ["apple", f"{number}", "no", "agree"],
        "answer": number % 4,
    }
    for number in range(7)
]
QUESTIONS = prompt_set("quiz", ROWS)
SHOTS = prompt_set("shots", [{**row, "id": f"s{row['id']}"} for row in ROWS[:3]])


def test_the_prompt_is_that_of_mmlu() -> None:
    question, example = read_questions(QUESTIONS)[:2]
    assert render_question(question) == (
        "The following are multiple choice questions (with answers) about river stones.\n\n"
        "Which stone follows a river?\nA. apple\nB. 0\nC. no\nD. agree\nAnswer:"
    )
    assert render_question(question, [example]) == (
        "The following are multiple choice questions (with answers) about river stones.\n\n"
        "Which stone follows a stone and a river?\nA. apple\nB. 1\nC. no\nD. agree\nAnswer: B\n\n"
        "Which stone follows a river?\nA. apple\nB. 0\nC. no\nD. agree\nAnswer:"
    )


def test_without_a_subject_the_header_names_none() -> None:
    (question,) = read_questions(
        prompt_set("quiz", [{"question": "So?", "choices": ["yes", "no"], "answer": "b"}])
    )
    assert question.answer == 1
    assert render_question(question).startswith(
        "The following are multiple choice questions (with answers).\n\nSo?\nA."
    )


@pytest.mark.parametrize("model_name", ["tiny_model", "letter_model"])
@pytest.mark.parametrize("shots", [0, 2])
def test_scores_are_those_of_a_plain_scorer(
    model_name: str,
    shots: int,
    request: pytest.FixtureRequest,
    plain_log_likelihood: Callable[[LanguageModel, str, str, bool], float],
) -> None:
    model = request.getfixturevalue(model_name)
    records = measure_choice(model, QUESTIONS, side="base", examples=SHOTS, shots=shots)
    examples = read_questions(SHOTS)[:shots]
    for row, question in zip(records, read_questions(QUESTIONS), strict=True):
        text = render_question(question, examples)
        expected = [plain_log_likelihood(model, text, f" {letter}", True) for letter in "ABCD"]
        assert list(row.log_likelihoods) == pytest.approx(expected, abs=1e-4)
        assert row.correct == (max(range(4), key=expected.__getitem__) == question.answer)
        assert row.values == {"chosen": max(range(4), key=expected.__getitem__), "answer": question.answer}


def test_batching_does_not_change_scores(tiny_model: LanguageModel) -> None:
    together = measure_choice(tiny_model, QUESTIONS, side="base")
    for row, item in zip(together, QUESTIONS.items, strict=True):
        (alone,) = measure_choice(tiny_model, prompt_set("one", [item.fields]), side="base")
        assert row.log_likelihoods == pytest.approx(alone.log_likelihoods, abs=1e-5)


def test_letters_of_one_token_cost_one_row_a_question(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = completion.final_log_probs

    def counting(model: LanguageModel, token_lists: Any, **rest: Any) -> Any:
        asked.append(len(token_lists))
        return original(model, token_lists, **rest)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("an answer was forced that one forward pass could have scored")

    monkeypatch.setattr(completion, "final_log_probs", counting)
    tokens = {
        len(each.answer)
        for each in completion.plain_completions(tiny_model, "Answer:", [" A", " B", " C", " D"])
    }
    assert tokens == {1}
    monkeypatch.setattr(
        completion, "continuation_log_probs", lambda model, contexts, answers: never() if contexts else []
    )
    measure_choice(tiny_model, QUESTIONS, side="base")
    assert asked == [len(QUESTIONS.items)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": "A, B"}, "item q0 has no list of 2 to 26"),
        ({"choices": ["one"]}, "item q0 has no list of 2 to 26"),
        ({"answer": 4}, "expected a number from 0 to 3"),
        ({"answer": None}, "found None"),
        ({"answer": True}, "found True"),
        ({"answer": "E"}, "found 'E'"),
    ],
)
def test_malformed_questions_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        read_questions(prompt_set("quiz", [{**ROWS[0], **change}]))


@pytest.mark.parametrize(("given", "answer"), [("C", 2), ("d ", 3), ("1", 1), (0, 0)])
def test_answers_may_be_numbers_or_letters(given: Any, answer: int) -> None:
    (question,) = read_questions(prompt_set("quiz", [{**ROWS[0], "answer": given}]))
    assert question.answer == answer


def test_too_few_examples_of_a_subject_are_an_error(tiny_model: LanguageModel) -> None:
    with pytest.raises(VerifyError, match="5 examples are asked for and subject 'river_stones' has 3"):
        measure_choice(tiny_model, QUESTIONS, side="base", examples=SHOTS, shots=5)
