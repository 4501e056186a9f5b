"""How far the next-token distribution moved: KL(base ‖ edited) in nats.

The base model answers each prompt greedily, up to k tokens; both models then read prompt and reply, and at
every position of the reply

    KL = Σ_v p_v (log p_v − log q_v),    p base, q edited,

over the whole vocabulary, in float64, without an epsilon; tokens that the base gives no probability count
nothing. The first position is the first generated token (Arditi et al. 2024 and most of the field report
only that one). A reply that ends before k tokens has one position more: the one where the base model chose
to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surgery.errors import VerifyError
from surgery.linalg.divergence import kl_divergence
from surgery.model.language_model import LanguageModel, chat_tokens, continuation_log_probs, decode, generate
from surgery.model.prompts import PromptSet
from surgery.verify.progress import Progress, silent
from surgery.verify.records import Record, record
from surgery.verify.rows import Held, RecordPairs, Row, gated, generator_for
from surgery.verify.sampled import sampled_mean
from surgery.verify.statistics import bootstrap_mean
from surgery.verify.suite import Asked, Gates, Measured, Suite, Turn

if TYPE_CHECKING:
    import torch

_PROMPTS_AT_ONCE = 16


@dataclass(frozen=True)
class DriftReference:
    """What the base model said: per prompt its forced tokens and its log-probabilities along them.

    The rows are float32 on the CPU: prompts × (k + 1) × vocabulary × 4 bytes, 0.9 GB at 100 × 17 × 128,000.
    """

    prompts_sha256: str
    replies: tuple[tuple[int, ...], ...]
    log_probs: tuple[torch.Tensor, ...]  # each (length, vocabulary)


def measure_reference(
    model: LanguageModel, prompts: PromptSet, *, side: str, n_tokens: int, progress: Progress = silent
) -> tuple[tuple[Record, ...], DriftReference]:
    """The base model's own replies and distributions, which edited models are compared with."""

    def follow(done: int, total: int) -> None:
        progress(done, total, "base replies")

    contexts = [chat_tokens(model, item.prompt) for item in prompts.items]
    replies = generate(model, contexts, max_new_tokens=n_tokens, progress=follow)
    forced = tuple(_forced(model, reply, n_tokens) for reply in replies)
    log_probs = [each for group in _rows(model, contexts, forced, progress) for each in group]
    rows = tuple(
        record(
            "drift",
            item,
            side,
            reply=decode(model, reply),
            reply_tokens=len(reply),
            finished=len(reply) < n_tokens,
        )
        for item, reply in zip(prompts.items, replies, strict=True)
    )
    return rows, DriftReference(prompts.sha256, forced, tuple(log_probs))


def measure_drift(
    model: LanguageModel,
    prompts: PromptSet,
    *,
    side: str,
    reference: DriftReference,
    progress: Progress = silent,
) -> tuple[Record, ...]:
    """KL of an edited model from the reference, per prompt.

    Values of a row: `kl_first`, `kl_tokens` (mean over the reply), `kl_most` (largest at one token),
    `same_token` (share of positions with the same likeliest token), `unchanged` (1 where the first
    distribution is the base's, bit for bit).

    Raises:
        VerifyError: the reference is of other prompts, or the two vocabularies differ.
    """
    if reference.prompts_sha256 != prompts.sha256:
        raise VerifyError("drift: the base model was measured on other prompts than these. Measure it again")
    contexts = [chat_tokens(model, item.prompt) for item in prompts.items]
    rows: list[Record] = []
    for group in _rows(model, contexts, reference.replies, progress):
        for edited in group:
            values = _compare(reference.log_probs[len(rows)], edited)
            rows.append(record("drift", prompts.items[len(rows)], side, values=values))
    return tuple(rows)


def _compare(base: torch.Tensor, edited: torch.Tensor) -> dict[str, float]:
    import torch

    if base.shape != edited.shape:
        raise VerifyError(
            f"drift: the base model has a vocabulary of {base.shape[-1]} tokens "
            f"and the edited one of {edited.shape[-1]}"
        )
    divergence = kl_divergence(base, edited)
    return {
        "kl_first": float(divergence[0]),
        "kl_tokens": float(divergence.mean()),
        "kl_most": float(divergence.max()),
        "same_token": float((base.argmax(dim=-1) == edited.argmax(dim=-1)).double().mean()),
        "unchanged": float(torch.equal(base[0], edited[0])),
    }


def _forced(model: LanguageModel, reply: Sequence[int], n_tokens: int) -> tuple[int, ...]:
    # Rows are taken BEFORE each forced token, so the one that stands for the stop is never read.
    stop = model.tokenizer.eos_token_id
    return tuple(reply) if len(reply) >= n_tokens else (*reply, 0 if stop is None else stop)


def _rows(
    model: LanguageModel,
    contexts: Sequence[Sequence[int]],
    forced: Sequence[Sequence[int]],
    progress: Progress,
) -> list[list[torch.Tensor]]:
    groups = []
    for start in range(0, len(contexts), _PROMPTS_AT_ONCE):
        part = slice(start, start + _PROMPTS_AT_ONCE)
        groups.append(continuation_log_probs(model, contexts[part], forced[part], full=True))
        progress(
            min(start + _PROMPTS_AT_ONCE, len(contexts)), len(contexts), "prompts, next-token distributions"
        )
    return groups


def drift_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """KL at the first token, and per token of the base model's reply; the spread is over prompts."""
    rows = []
    for name, label in (("kl_first", "KL first token"), ("kl_tokens", "KL per token")):
        values = np.array([edited.values[name] for _, edited in pairs])
        mean = bootstrap_mean(values, generator=generator_for(seed, label))
        detail = {
            "median": float(np.quantile(values, 0.5)),
            "p95": float(np.quantile(values, 0.95)),
            "max": float(values.max()),
        }
        row = Row(label, suite, "nats", None, mean, None, len(values), None, detail)
        held = [Held(gates[name], sampled_mean(mean, len(values)), signed=False)] if name in gates else []
        rows += gated(row, held)
    return rows


def _measure(model: LanguageModel, asked: Asked, turn: Turn) -> Measured:
    side, progress = turn.side, turn.progress
    if turn.kept is None:
        n_tokens = asked.section.tokens
        return measure_reference(model, asked.prompts, side=side, n_tokens=n_tokens, progress=progress)
    rows = measure_drift(model, asked.prompts, side=side, reference=turn.kept, progress=progress)
    return rows, None


DRIFT = Suite(
    measure=_measure,
    table=drift_table,
    question="how far its next-token distribution moved",
    task="Distance from the base model",
    metric="kl_divergence",
)
