"""A context and an answer that may follow it, tokenised as one text and scored in nats.

Context and answer are tokenised together and split where the context alone ends: an answer's first token
often carries the space in front of it, so tokenising the two apart would score a text the model never sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from surgery.errors import VerifyError
from surgery.model.chat import render_chat
from surgery.model.language_model import (
    LanguageModel,
    continuation_log_probs,
    final_log_probs,
    plain_tokens,
)


@dataclass(frozen=True)
class Completion:
    """Tokens of a context and of the answer after it."""

    context: tuple[int, ...]
    answer: tuple[int, ...]


def plain_completions(model: LanguageModel, context: str, answers: Sequence[str]) -> tuple[Completion, ...]:
    """Answers after a text as it stands, with the special tokens the tokenizer adds (BOS).

    Raises:
        VerifyError: the tokenizer leaves nothing of an answer, or no difference between two.
    """
    return _split(
        plain_tokens(model, context), [plain_tokens(model, context + answer) for answer in answers], answers
    )


def chat_completions(model: LanguageModel, prompt: str, answers: Sequence[str]) -> tuple[Completion, ...]:
    """Answers as openings of the model's reply to a prompt. Raises as `plain_completions`."""
    context = render_chat(model.tokenizer, prompt)
    wholes = [_rendered_tokens(model, context + answer) for answer in answers]
    return _split(_rendered_tokens(model, context), wholes, answers)


def log_likelihoods(model: LanguageModel, completions: Sequence[Completion]) -> list[float]:
    """Log-probability of each whole answer given its context, in nats.

    Answers of one token that share a context cost one forward pass together.
    """
    short = [number for number, each in enumerate(completions) if len(each.answer) == 1]
    long = [number for number, each in enumerate(completions) if len(each.answer) > 1]
    values = [0.0] * len(completions)
    for number, value in zip(short, _single(model, [completions[number] for number in short]), strict=True):
        values[number] = value
    forced = continuation_log_probs(
        model, [completions[each].context for each in long], [completions[each].answer for each in long]
    )
    for number, tokens in zip(long, forced, strict=True):
        values[number] = float(tokens.double().sum())
    return values


def _single(model: LanguageModel, completions: Sequence[Completion]) -> list[float]:
    if not completions:
        return []
    contexts = list(dict.fromkeys(each.context for each in completions))
    rows = dict(zip(contexts, final_log_probs(model, contexts), strict=True))
    return [float(rows[each.context][each.answer[0]]) for each in completions]


def _rendered_tokens(model: LanguageModel, text: str) -> list[int]:
    # A chat template writes its own special tokens; where there is none, the text is a plain text.
    if model.tokenizer.chat_template is None:
        return plain_tokens(model, text)
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])


def _split(
    context: Sequence[int], wholes: Sequence[Sequence[int]], answers: Sequence[str]
) -> tuple[Completion, ...]:
    # All answers are split at one place, or their totals would not count the same tokens.
    length = min(_shared(context, whole) for whole in wholes)
    completions = tuple(Completion(tuple(whole[:length]), tuple(whole[length:])) for whole in wholes)
    if (
        length == 0
        or not all(each.answer for each in completions)
        or len(set(completions)) < len(completions)
    ):
        raise VerifyError(
            f"the tokenizer cannot tell the answers {', '.join(map(repr, answers))} apart after this "
            "context, so they cannot be scored by likelihood"
        )
    return completions


def _shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common beginning."""
    pairs = zip(first, second, strict=False)
    return next(
        (index for index, (left, right) in enumerate(pairs) if left != right), min(len(first), len(second))
    )
