"""Multiple choice in MMLU's format, answered by the likelihood of the letter.

The prompt is that of Hendrycks et al. 2021 as lm-evaluation-harness renders it: a line that names the
subject, then question blocks

    {question}\\nA. {choice}\\nB. {choice}\\n…\\nAnswer:

of which the examples carry their letter; blocks are parted by a blank line. The answer is the letter with the
largest log-likelihood of `" A"`, `" B"`, … after the prompt, without a chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel
from surgery.model.prompts import Item, PromptSet
from surgery.verify.completion import log_likelihoods, plain_completions
from surgery.verify.gates import mirrored
from surgery.verify.progress import Progress, silent
from surgery.verify.records import Record, record
from surgery.verify.rows import Held, RecordPairs, Row, gated, paired_shares, share_row
from surgery.verify.suite import Asked, Gates, Measured, Suite, Turn

_QUESTIONS_AT_ONCE = 64


@dataclass(frozen=True)
class Question:
    """A question with its choices; `answer` is the number of the right one, from 0."""

    item: Item
    text: str
    choices: tuple[str, ...]
    answer: int
    subject: str | None


def read_questions(prompts: PromptSet) -> tuple[Question, ...]:
    """The questions of a set. Raises VerifyError where an item has no choices or no answer among them."""
    return tuple(_question(item, prompts.name) for item in prompts.items)


def render_question(question: Question, examples: Sequence[Question] = ()) -> str:
    """The whole prompt, ending in `Answer:`."""
    subject = f" about {question.subject.replace('_', ' ')}" if question.subject else ""
    header = f"The following are multiple choice questions (with answers){subject}.\n\n"
    shots = [f"{_block(each)} {ascii_uppercase[each.answer]}\n\n" for each in examples]
    return header + "".join(shots) + _block(question)


def examples_for(question: Question, examples: Sequence[Question], shots: int) -> tuple[Question, ...]:
    """The first `shots` examples of the question's subject. Raises VerifyError where there are fewer."""
    found = [each for each in examples if each.subject == question.subject][:shots]
    if len(found) < shots:
        raise VerifyError(
            f"choice: {shots} examples are asked for and subject {question.subject or '(none)'!r} has "
            f"{len(found)}. Lower shots, or name a set of examples that has them"
        )
    return tuple(found)


def measure_choice(
    model: LanguageModel,
    prompts: PromptSet,
    *,
    side: str,
    examples: PromptSet | None = None,
    shots: int = 0,
    progress: Progress = silent,
) -> tuple[Record, ...]:
    """Answer every question; a row holds the letters' log-likelihoods and whether the best is right.

    Raises:
        VerifyError: a question is malformed, lacks examples, or its letters cannot be told apart.
    """
    questions = read_questions(prompts)
    pool = read_questions(examples) if examples is not None else ()
    rows: list[Record] = []
    for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
        group = questions[start : start + _QUESTIONS_AT_ONCE]
        texts = [render_question(each, examples_for(each, pool, shots)) for each in group]
        rows.extend(_answer(model, group, texts, side))
        progress(len(rows), len(questions), "questions")
    return tuple(rows)


def _answer(
    model: LanguageModel, questions: Sequence[Question], texts: Sequence[str], side: str
) -> list[Record]:
    completions = [
        plain_completions(model, text, [f" {letter}" for letter in ascii_uppercase[: len(each.choices)]])
        for each, text in zip(questions, texts, strict=True)
    ]
    scores = iter(log_likelihoods(model, [one for each in completions for one in each]))
    rows = []
    for question in questions:
        values = tuple(next(scores) for _ in question.choices)
        chosen = max(range(len(values)), key=values.__getitem__)
        rows.append(
            record(
                "choice",
                question.item,
                side,
                log_likelihoods=values,
                correct=chosen == question.answer,
                values={"chosen": chosen, "answer": question.answer},
            )
        )
    return rows


def _block(question: Question) -> str:
    choices = "".join(
        f"\n{letter}. {choice}" for letter, choice in zip(ascii_uppercase, question.choices, strict=False)
    )
    return f"{question.text.strip()}{choices}\nAnswer:"


def _question(item: Item, name: str) -> Question:
    choices, subject = item.fields.get("choices"), item.fields.get("subject")
    if not isinstance(choices, (list, tuple)) or not 2 <= len(choices) <= len(ascii_uppercase):
        raise VerifyError(
            f"{name}: item {item.id} has no list of 2 to 26 texts under 'choices'; a row holds question,"
            " choices and answer"
        )
    answer = _answer_number(item.fields.get("answer"), len(choices))
    if answer is None:
        raise VerifyError(
            f"{name}: item {item.id} has no right choice under 'answer': expected a number from 0 to "
            f"{len(choices) - 1} or its letter, found {item.fields.get('answer')!r}"
        )
    text = item.fields.get("question", item.prompt)
    return Question(
        item, str(text), tuple(str(each) for each in choices), answer, str(subject) if subject else None
    )


def _answer_number(value: Any, n_choices: int) -> int | None:
    if isinstance(value, str):
        letter = value.strip().upper()
        if len(letter) == 1 and letter in ascii_uppercase[:n_choices]:
            return ascii_uppercase.index(letter)
        value = int(letter) if letter.isdigit() else None
    valid = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < n_choices
    return int(value) if valid and value is not None else None


def choice_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """Share of right answers."""
    shares = paired_shares(
        [bool(base.correct) for base, _ in pairs], [bool(edited.correct) for _, edited in pairs]
    )
    held = []
    if "drop" in gates:
        held.append(Held(mirrored(gates["drop"]), shares.change, signed=True))
    if "edited" in gates:
        held.append(Held(gates["edited"], shares.edited, signed=False))
    return gated(share_row("quiz", suite, shares, {}), held)


def _measure(model: LanguageModel, asked: Asked, turn: Turn) -> Measured:
    shots = asked.section.shots
    rows = measure_choice(
        model, asked.prompts, side=turn.side, examples=asked.examples, shots=shots, progress=turn.progress
    )
    return rows, None


def _check(asked: Asked) -> None:
    pool = read_questions(asked.examples) if asked.examples is not None else ()
    for question in read_questions(asked.prompts):
        examples_for(question, pool, asked.section.shots)


CHOICE = Suite(
    measure=_measure,
    table=choice_table,
    check=_check,
    question="knowledge in multiple-choice questions",
    task="Multiple choice",
    metric="accuracy",
)
