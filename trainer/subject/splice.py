"""Cross-entropy of a transformers model with the activations at a hook point replaced."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
import torch

from trainer.config import DataSettings, HookSettings
from trainer.subject.harvest import padded_rows, to_torch
from trainer.subject.hooks import hooked, model_inputs
from trainer.subject.model import Subject
from trainer.tokens import Row, TokenBatch, batch_rows

Reconstruct = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Splice:
    """Next-token cross-entropy in nats per token with the stream untouched, zeroed, and reconstructed."""

    clean: float
    zero: float
    spliced: float
    tokens: int

    @property
    def loss_recovered(self) -> float:
        """(zero − spliced) / (zero − clean): 1 for a perfect dictionary, 0 for one no better than nothing."""
        return (self.zero - self.spliced) / (self.zero - self.clean)


def _cross_entropy(subject: Subject, batch: TokenBatch) -> tuple[float, int]:
    with torch.no_grad():
        logits = subject.model(**model_inputs(subject, batch)).logits[:, :-1].float()
    targets = torch.from_numpy(np.where(batch.predicted(), batch.ids, -100)[:, 1:]).to(logits.device)
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none"
    )
    return float(losses.double().sum()), int((targets != -100).sum())


def spliced_loss(
    subject: Subject, rows: Sequence[Row], hook: HookSettings, data: DataSettings, reconstruct: Reconstruct
) -> Splice:
    """Cross-entropy clean, zero-ablated and with `reconstruct` (rows read -> rows written) spliced in.

    Only tokens that the dictionary was meant for are replaced; BOS and the like pass untouched in both cases.
    Every predicted token counts.
    """
    totals, tokens, size = np.zeros(3), 0, data.batch * data.context
    for batch in batch_rows(rows, data.batch, packed=data.packed):
        learnt = torch.from_numpy(batch.keep).to(subject.model.device)[..., None]

        def zeroed(_: torch.Tensor, written: torch.Tensor, learnt: torch.Tensor = learnt) -> torch.Tensor:
            return torch.where(learnt, 0.0, written)

        def rebuilt(read: torch.Tensor, written: torch.Tensor, learnt: torch.Tensor = learnt) -> torch.Tensor:
            flat = to_torch(reconstruct(padded_rows(read.float(), size)))[: written[..., 0].numel()]
            return torch.where(learnt, flat.reshape(written.shape).to(written), written)

        clean, count = _cross_entropy(subject, batch)
        with hooked(subject, hook, zeroed):
            zero, _ = _cross_entropy(subject, batch)
        with hooked(subject, hook, rebuilt):
            spliced, _ = _cross_entropy(subject, batch)
        totals, tokens = totals + np.array([clean, zero, spliced]), tokens + count
    clean, zero, spliced = (float(total) / tokens for total in totals)
    return Splice(clean, zero, spliced, tokens)
