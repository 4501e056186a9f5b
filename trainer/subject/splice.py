"""What a transformers model predicts with the activations at a hook point replaced."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
import torch

from trainer.config import DataSettings, HookSettings
from trainer.subject.harvest import learnt_tokens, padded_rows, to_torch
from trainer.subject.hooks import Change, activations_of, hooked, model_inputs
from trainer.subject.model import Subject
from trainer.tokens import Row, TokenBatch, batch_rows

Reconstruct = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Splice:
    """Cross-entropy of the next token with the stream untouched, zeroed, and reconstructed, and the
    divergence KL(untouched ‖ changed), both in nats per token."""

    clean: float
    zero: float
    spliced: float
    kl_zero: float
    kl_spliced: float
    tokens: int

    @property
    def loss_recovered(self) -> float:
        """(zero − spliced) / (zero − clean): 1 for a perfect dictionary, 0 for one no better than nothing.
        NaN where zeros lose nothing, as when no replaced token is followed by another."""
        lost = self.zero - self.clean
        return (self.zero - self.spliced) / lost if lost else float("nan")


def _logits(subject: Subject, batch: TokenBatch) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = subject.model(**model_inputs(subject, batch)).logits[:, :-1]
    return logits


def _losses(logits: torch.Tensor, clean: torch.Tensor, batch: TokenBatch) -> np.ndarray:
    """Cross-entropy of the logits (batch, position, vocabulary) and KL of the clean ones to them, summed."""
    totals = np.zeros(2)
    rows = zip(logits, clean, batch.predicted()[:, 1:], batch.ids[:, 1:], strict=True)
    for (
        changed,
        known,
        predicted,
        ids,
    ) in rows:  # a row at a time: two of its tables fit where a batch's do not
        counted = torch.from_numpy(predicted).to(logits.device)
        told, before = (each[counted].float().log_softmax(-1) for each in (changed, known))
        targets = torch.from_numpy(ids[predicted]).to(logits.device)
        entropy = -told.gather(1, targets[:, None]).double().sum()
        divergence = (before.exp() * (before - told)).sum(-1).double().sum()
        totals += [float(entropy), float(divergence)]
    return totals


def _where_learnt(change: Change, hook: HookSettings, data: DataSettings, keep: np.ndarray) -> Change:
    """`change` at the tokens that are learnt, of those in `keep`; nothing elsewhere."""

    def partly(read: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        learnt = torch.from_numpy(learnt_tokens(activations_of(hook, read, written), keep, data))
        return torch.where(learnt.to(written.device)[..., None], change(read, written), written)

    return partly


def spliced_loss(
    subject: Subject, rows: Sequence[Row], hook: HookSettings, data: DataSettings, reconstruct: Reconstruct
) -> Splice:
    """The model clean, zero-ablated and with `reconstruct` (rows read -> rows written) spliced in.

    Only tokens that the dictionary was meant for are replaced; BOS, outliers and the like pass untouched in
    both cases. Every predicted token counts.
    """
    totals, tokens, size = np.zeros((3, 2)), 0, data.batch * data.context

    def zeroed(_: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(written)

    def rebuilt(read: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        flat = to_torch(reconstruct(padded_rows(read.float(), size)))[: written[..., 0].numel()]
        return flat.reshape(written.shape).to(written)

    for batch in batch_rows(rows, data.batch, packed=data.packed):
        clean = _logits(subject, batch)
        totals[0] += _losses(clean, clean, batch)
        for place, change in enumerate((zeroed, rebuilt), start=1):
            with hooked(subject, hook, _where_learnt(change, hook, data, batch.keep)):
                changed = _logits(subject, batch)
            totals[place] += _losses(changed, clean, batch)
        tokens += int(batch.predicted().sum())
    (clean_loss, _), (zero, kl_zero), (spliced, kl_spliced) = (totals / tokens).tolist()
    return Splice(clean_loss, zero, spliced, kl_zero, kl_spliced, tokens)
