"""Which of two answers a model prefers, in the format of Rimsky et al. 2024 (CAA).

The question goes through the chat template and each answer is scored as the opening of the reply. With ℓ₊
and ℓ₋ the total log-likelihoods of the matching and the other answer, the measure is the share of the
matching one, p = 1 / (1 + exp(ℓ₋ − ℓ₊)), averaged over pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel
from surgery.model.prompts import Item, PromptSet
from surgery.verify.completion import chat_completions, log_likelihoods
from surgery.verify.gates import mirrored
from surgery.verify.progress import Progress, silent
from surgery.verify.records import Record, record
from surgery.verify.rows import Held, RecordPairs, Row, gated, mean_row, paired_shares
from surgery.verify.suite import Asked, Gates, Measured, Suite, Turn

_PAIRS_AT_ONCE = 64


@dataclass(frozen=True)
class AnswerPair:
    """A question with an answer that shows the behaviour and one that does not."""

    item: Item
    matching: str
    other: str


def read_pairs(prompts: PromptSet) -> tuple[AnswerPair, ...]:
    """The answer pairs of a set. Raises VerifyError where an item lacks one of its two answers."""
    return tuple(_pair(item, prompts.name) for item in prompts.items)


def measure_preference(
    model: LanguageModel, prompts: PromptSet, *, side: str, progress: Progress = silent
) -> tuple[Record, ...]:
    """Score every pair; `log_likelihoods` of a row are (matching, other), `correct` says which one is larger.

    Raises:
        VerifyError: a pair is malformed, or its answers cannot be told apart.
    """
    pairs = read_pairs(prompts)
    rows: list[Record] = []
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        rows.extend(_score(model, pairs[start : start + _PAIRS_AT_ONCE], side))
        progress(len(rows), len(pairs), "pairs")
    return tuple(rows)


def share_of_matching(matching: float, other: float) -> float:
    """Softmax of two log-likelihoods, the first one's share; 0.5 where both are impossible."""
    if matching == other:
        return 0.5
    gap = other - matching
    return 1 / (1 + math.exp(gap)) if gap < 700 else 0.0


def _score(model: LanguageModel, pairs: Sequence[AnswerPair], side: str) -> list[Record]:
    completions = [chat_completions(model, pair.item.prompt, (pair.matching, pair.other)) for pair in pairs]
    scores = iter(log_likelihoods(model, [one for each in completions for one in each]))
    rows = []
    for pair in pairs:
        matching, other = next(scores), next(scores)
        rows.append(
            record(
                "preference",
                pair.item,
                side,
                log_likelihoods=(matching, other),
                correct=matching > other,
                values={"probability": share_of_matching(matching, other)},
            )
        )
    return rows


def _pair(item: Item, name: str) -> AnswerPair:
    answers = [item.fields.get(f"answer_{kind}_behavior") for kind in ("matching", "not_matching")]
    if not all(isinstance(answer, str) and answer for answer in answers) or answers[0] == answers[1]:
        raise VerifyError(
            f"{name}: item {item.id} needs two different texts under 'answer_matching_behavior' and "
            "'answer_not_matching_behavior'"
        )
    return AnswerPair(item, str(answers[0]), str(answers[1]))


def preference_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """Mean probability of the matching answer; details say how often it is the likelier one."""
    sides = [np.array([pair[side].values["probability"] for pair in pairs]) for side in (0, 1)]
    row, change = mean_row("preference", suite, "share", sides, seed)
    likelier = paired_shares(
        [bool(base.correct) for base, _ in pairs], [bool(edited.correct) for _, edited in pairs]
    )
    detail = {
        "likelier_base": likelier.base.estimate.value,
        "likelier_edited": likelier.edited.estimate.value,
        "likelier_p_value": likelier.p_value,
    }
    held = []
    if "increase" in gates:
        held.append(Held(gates["increase"], change, signed=True))
    if "decrease" in gates:
        held.append(Held(mirrored(gates["decrease"]), change, signed=True))
    return gated(replace(row, detail=detail), held)


def _measure(model: LanguageModel, asked: Asked, turn: Turn) -> Measured:
    return measure_preference(model, asked.prompts, side=turn.side, progress=turn.progress), None


PREFERENCE = Suite(
    measure=_measure,
    table=preference_table,
    check=lambda asked: read_pairs(asked.prompts),
    question="which of two answers it prefers",
    task="Choice between two answers",
    metric="probability",
    behaviour="The mean probability of the answer that matches the behaviour",
    controlled=True,
)
