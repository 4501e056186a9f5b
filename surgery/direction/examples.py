"""The prompts in which a feature fires most, to say in a line what it responds to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surgery.dictionary.dictionary import Dictionary, encode
from surgery.direction.encoded import point_in
from surgery.model.language_model import LanguageModel, chat_tokens
from surgery.model.residuals import stream_at

EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """A prompt and a feature's strongest activation in it."""

    prompt: str
    activation: float


def strongest_prompts(
    dictionary: Dictionary, model: LanguageModel, prompts: Sequence[str], features: Sequence[int]
) -> list[tuple[Example, ...]]:
    """For each feature at most `EXAMPLES` prompts, over every position of each.

    None where there are no prompts, or the dictionary reads no place of this model's stream between blocks.
    """
    point = point_in(dictionary, model)
    if point is None or not prompts:
        return [() for _ in features]
    streams = stream_at(model, [chat_tokens(model, prompt) for prompt in prompts], point)
    strongest = np.stack(
        [encode(dictionary, stream, features=features).max(axis=0) for stream in streams]
    )  # (prompts, k)
    return [_top(column, prompts) for column in strongest.T]


def _top(activations: np.ndarray, prompts: Sequence[str]) -> tuple[Example, ...]:
    order = np.argsort(-activations, kind="stable")[:EXAMPLES]
    return tuple(Example(prompts[row], float(activations[row])) for row in order if activations[row] > 0)
