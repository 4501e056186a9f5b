"""Cross-entropy on plain text, in nats per token.

A text is cut into windows of `WINDOW` tokens that do not overlap; every window begins with the last token
of the one before it (the first with BOS, where the tokenizer has one), which is given and not scored. The
measure is Σ −log p / Σ tokens over all texts: longer texts count for more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel, continuation_log_probs, plain_tokens
from surgery.model.prompts import Item, PromptSet
from surgery.verify.progress import Progress, silent
from surgery.verify.records import Record, record
from surgery.verify.rows import Held, RecordPairs, Row, gated, mean_row
from surgery.verify.suite import Asked, Gates, Measured, Suite, Turn

WINDOW = 512
_TEXTS_AT_ONCE = 32


def measure_perplexity(
    model: LanguageModel, prompts: PromptSet, *, side: str, progress: Progress = silent
) -> tuple[Record, ...]:
    """Score every text: `nll` (nats, whole text), `tokens` scored and `bytes` of UTF-8.

    Texts of fewer than two tokens cannot be scored and give no row.

    Raises:
        VerifyError: no text can be scored.
    """
    rows: list[Record] = []
    for start in range(0, len(prompts.items), _TEXTS_AT_ONCE):
        group = prompts.items[start : start + _TEXTS_AT_ONCE]
        rows.extend(_score(model, group, side))
        progress(start + len(group), len(prompts.items), "texts")
    if not rows:
        raise VerifyError(f"perplexity: no text of {prompts.name} is long enough to be scored (two tokens)")
    return tuple(rows)


def windows(tokens: Sequence[int], size: int = WINDOW) -> list[tuple[list[int], list[int]]]:
    """(given, scored) tokens of each window; every token but the first is scored once."""
    starts = range(1, len(tokens), size)
    return [(list(tokens[start - 1 : start]), list(tokens[start : start + size])) for start in starts]


def _score(model: LanguageModel, items: Sequence[Item], side: str) -> list[Record]:
    cut = [windows(plain_tokens(model, item.prompt)) for item in items]
    pieces = [piece for each in cut for piece in each]
    scores = iter(
        continuation_log_probs(model, [given for given, _ in pieces], [scored for _, scored in pieces])
    )
    rows = []
    for item, each in zip(items, cut, strict=True):
        if not each:
            continue
        nll = -sum(float(next(scores).double().sum()) for _ in each)
        tokens = sum(len(scored) for _, scored in each)
        values = {"nll": nll, "tokens": tokens, "bytes": len(item.prompt.encode())}
        rows.append(record("perplexity", item, side, values=values))
    return rows


def perplexity_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """Cross-entropy in nats per token; perplexity and bits per byte as details."""
    tokens = np.array([base.values["tokens"] for base, _ in pairs])
    sides = [np.array([pair[side].values["nll"] for pair in pairs]) / tokens for side in (0, 1)]
    n_bytes = sum(base.values["bytes"] for base, _ in pairs)
    row, change = mean_row("cross-entropy", suite, "nats", sides, seed, weights=tokens)
    detail = {"tokens": float(tokens.sum())}
    for side, values in zip(("base", "edited"), sides, strict=True):
        total = float((values * tokens).sum())
        detail[f"perplexity_{side}"] = _exp(total / float(tokens.sum()))
        detail[f"bits_per_byte_{side}"] = total / math.log(2) / n_bytes if n_bytes else math.nan
    held = [Held(gates["increase"], change, signed=True)] if "increase" in gates else []
    return gated(replace(row, detail=detail), held)


def _measure(model: LanguageModel, asked: Asked, turn: Turn) -> Measured:
    return measure_perplexity(model, asked.prompts, side=turn.side, progress=turn.progress), None


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf


PERPLEXITY = Suite(
    measure=_measure,
    table=perplexity_table,
    question="its fit to plain text",
    task="Plain text",
    metric="cross_entropy",
)
