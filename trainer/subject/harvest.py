"""Activations of a transformers model as JAX arrays, batch by batch and pass after pass.

Tokens that a dictionary should not learn are left out: padding, BOS (an attention sink with a norm of its
own), all special tokens if asked, and tokens of outlying norm if asked. Rows reach JAX by dlpack, on a CPU
without a copy.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.utils.dlpack

from trainer.config import DataSettings, HookSettings
from trainer.feed import Harvest
from trainer.subject.hooks import residuals_at
from trainer.subject.model import Subject
from trainer.tokens import Row, Tokens, batch_rows, shuffled_rows, within_norm


def to_jax(tensor: torch.Tensor) -> jax.Array:
    """The tensor's memory as a JAX array where both have the device; the tensor must not be changed
    afterwards."""
    tensor = tensor.detach().contiguous()
    return jnp.from_dlpack(tensor if jax.default_backend() == "gpu" else tensor.cpu())


def to_torch(array: jax.Array) -> torch.Tensor:
    """The array's memory as a tensor."""
    return torch.utils.dlpack.from_dlpack(array)


def padded_rows(hidden: torch.Tensor, rows: int) -> jax.Array:
    """(batch, position, d) as (rows, d), zeros behind."""
    flat = hidden.reshape(-1, hidden.shape[-1])
    return to_jax(torch.nn.functional.pad(flat, (0, 0, 0, rows - flat.shape[0])))


def learnt_tokens(hidden: torch.Tensor, keep: np.ndarray, data: DataSettings) -> np.ndarray:
    """Of the tokens in `keep` (batch, position) those whose activations (batch, position, d) are no
    outliers."""
    if data.norm_outliers is None:
        return keep
    norms = torch.linalg.vector_norm(hidden, dim=-1).cpu().numpy()
    return within_norm(norms, keep, data.norm_outliers)


def harvest(
    subject: Subject, rows: Sequence[Row], hook: HookSettings, data: DataSettings
) -> Iterator[Harvest]:
    """One pass: activations (data.batch * data.context, d_model) float32 and which rows count, batch by
    batch."""
    return (found[hook] for found in harvest_at(subject, rows, (hook,), data))


def harvest_at(
    subject: Subject, rows: Sequence[Row], hooks: Sequence[HookSettings], data: DataSettings
) -> Iterator[dict[HookSettings, Harvest]]:
    """`harvest` of several hook points from the same forward passes."""
    size = data.batch * data.context

    def kept(hidden: torch.Tensor, keep: np.ndarray) -> Harvest:
        keep = learnt_tokens(hidden, keep, data)
        return padded_rows(hidden, size), np.pad(keep.reshape(-1), (0, size - keep.size))

    for batch in batch_rows(rows, data.batch, packed=data.packed):
        found = residuals_at(subject, batch, hooks)
        yield {hook: kept(hidden, batch.keep) for hook, hidden in found.items()}


def passes_at(
    subject: Subject, texts: Sequence[Tokens], hooks: Sequence[HookSettings], data: DataSettings, seed: int
) -> Callable[[int, int], Iterator[dict[HookSettings, Harvest]]]:
    """Pass number, batches to leave out at its start -> the rest of that pass over the texts, in an order of
    its own, the same for the same seed."""

    def one_pass(number: int, start: int) -> Iterator[dict[HookSettings, Harvest]]:
        rows = shuffled_rows(texts, data.context, packed=data.packed, seed=[seed, number])
        return harvest_at(subject, rows[start * data.batch :], hooks, data)

    return one_pass
