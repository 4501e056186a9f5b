"""Activations at hook points over many texts, streamed: what dictionaries are measured and explained on.

Texts become windows of at most `WINDOW` tokens, each beginning as the tokenizer begins a text. The first
position of a window, where models park outliers, and BOS wherever it stands, carry no statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surgery.errors import VerifyError
from surgery.hook_point import HookPoint
from surgery.model.interventions import Change, changing
from surgery.model.language_model import (
    BATCH_LOGITS,
    Batch,
    LanguageModel,
    batches,
    chat_tokens,
    plain_tokens,
    run,
)

if TYPE_CHECKING:
    import torch

WINDOW = 128


@dataclass(frozen=True)
class Seen:
    """One batch: its tokens, which of them count, and the activations at each hook point."""

    batch: Batch
    counted: np.ndarray  # (batch, position) bool
    activations: tuple[np.ndarray, ...]  # each (batch, position, d) float32


def text_windows(
    model: LanguageModel, texts: Sequence[str], *, at_most: int | None = None, chat: bool = False
) -> list[list[int]]:
    """Token windows of texts, in order, until they hold `at_most` tokens.

    Args:
        chat: put each text into the model's chat template first.

    Raises:
        VerifyError: the texts hold no two tokens together.
    """
    windows: list[list[int]] = []
    total = 0
    for text in texts:
        tokens = chat_tokens(model, text) if chat else plain_tokens(model, text)
        for start in range(0, len(tokens), WINDOW):
            window = tokens[start : start + WINDOW]
            if at_most is not None:
                window = window[: at_most - total]
            if len(window) > 1:
                windows.append(window)
                total += len(window)
        if at_most is not None and total >= at_most:
            break
    if not windows:
        raise VerifyError("the texts are too short to measure anything on: no window has two tokens")
    return windows


def logit_batches(model: LanguageModel, windows: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """Batches small enough that all their logits can be held."""
    vocabulary = int(model.network.config.get_text_config().vocab_size)
    yield from batches(model, windows, batch_size=max(1, BATCH_LOGITS // (vocabulary * WINDOW)))


def observe(
    model: LanguageModel, windows: Sequence[Sequence[int]], points: Sequence[HookPoint]
) -> Iterator[Seen]:
    """Run the model over windows and give what passes each hook point.

    Raises:
        AnatomyError: the model has no such hook point.
    """
    for batch in batches(model, windows):
        taken: dict[HookPoint, torch.Tensor] = {}
        with ExitStack() as stack:
            for point in points:
                stack.enter_context(changing(model, point, _keeper(taken, point)))
            run(model, batch, last=1)
        held = tuple(taken[point].detach().float().cpu().numpy() for point in points)
        yield Seen(batch, counted(model, batch), held)


def counted(model: LanguageModel, batch: Batch) -> np.ndarray:
    """Which tokens of a batch carry statistics, (batch, position) bool."""
    bos = model.tokenizer.bos_token_id
    kept = batch.mask.bool() & (batch.positions > 0)
    if bos is not None:
        kept &= batch.tokens != bos
    return np.asarray(kept.cpu().numpy())


def _keeper(taken: dict[HookPoint, torch.Tensor], point: HookPoint) -> Change:
    def keep(hidden: torch.Tensor) -> torch.Tensor:
        taken[point] = hidden
        return hidden

    return keep
