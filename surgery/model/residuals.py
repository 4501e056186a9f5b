"""Residual-stream activations of prompts, and their means.

Means are sums in float64 divided once: the two means of a difference are often within 1 % of each other, so
the difference loses what a float32 sum would round away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from surgery.errors import AnatomyError
from surgery.hook_point import HookPoint
from surgery.model.interventions import at_input, at_output
from surgery.model.language_model import LanguageModel, batches, run
from surgery.model.sites import find_blocks

if TYPE_CHECKING:
    import torch


@contextmanager
def recording(model: LanguageModel, keep: int) -> Iterator[list[torch.Tensor]]:
    """Record the last `keep` positions of every block's input, and of the last block's output.

    Yields:
        A list that a forward pass fills with n_layers + 1 tensors (batch, keep, d_model): entry l is
        `resid_pre` of layer l, and the last is `resid_post` of the last layer, before the final norm.

    Raises:
        AnatomyError: where the model keeps several streams, or runs its blocks more than once.
    """
    blocks = find_blocks(model.network)
    stream: list[torch.Tensor] = []

    def take(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.shape[2:] != (model.d_model,):
            raise AnatomyError(
                f"its blocks pass on {list(hidden.shape[2:])} numbers a position, not one stream of"
                f" {model.d_model}: no direction is read from a model that keeps several streams; give one by"
                " `find: file`"
            )
        stream.append(hidden[:, -keep:].detach())
        return hidden

    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(at_input(block.module, take))
        stack.enter_context(at_output(blocks[-1].module, take))
        yield stream
    if len(stream) != model.n_layers + 1:
        raise AnatomyError(
            f"its blocks run {len(stream) - 1} times, and its layers are {model.n_layers}: which layer a"
            " stream belongs to cannot be told; give a direction by `find: file`"
        )


def residuals(model: LanguageModel, token_lists: Sequence[Sequence[int]], *, keep: int = 1) -> np.ndarray:
    """The stream at the last positions of each prompt: (n, n_layers + 1, keep, d_model), float32.

    Index l along the second axis is `resid_pre` of layer l; index n_layers is the last `resid_post`.
    """
    import torch

    result = np.empty((len(token_lists), model.n_layers + 1, keep, model.d_model), dtype=np.float32)
    for batch in batches(model, token_lists):
        with recording(model, keep) as stream:
            run(model, batch, last=1)
        result[list(batch.rows)] = torch.stack(stream, dim=1).float().cpu().numpy()
    return result


def mean_residuals(
    model: LanguageModel, token_lists: Sequence[Sequence[int]], *, keep: int = 1
) -> np.ndarray:
    """Mean over prompts of `residuals`, accumulated in float64: (n_layers + 1, keep, d_model)."""
    total = np.zeros((model.n_layers + 1, keep, model.d_model), dtype=np.float64)
    for batch in batches(model, token_lists):
        with recording(model, keep) as stream:
            run(model, batch, last=1)
        total += np.stack([each.double().sum(dim=0).cpu().numpy() for each in stream])
    return total / len(token_lists)


def stream_at(
    model: LanguageModel, token_lists: Sequence[Sequence[int]], point: HookPoint
) -> list[np.ndarray]:
    """The stream at every position of each prompt, at one hook point: arrays (length, d_model), float32.

    Raises:
        AnatomyError: the site is not `resid_pre` or `resid_post`, or the layer is not one of the model's.
    """
    index = point.layer + (point.site == "resid_post")
    if point.site not in ("resid_pre", "resid_post") or not 0 <= point.layer < model.n_layers:
        raise AnatomyError(
            f"{point}: this model has resid_pre and resid_post of layers 0 to {model.n_layers - 1}"
        )
    streams: list[np.ndarray] = [np.empty(0)] * len(token_lists)
    for batch in batches(model, token_lists):
        with recording(model, batch.tokens.shape[1]) as stream:
            run(model, batch, last=1)
        hidden = stream[index].float().cpu().numpy()
        for row, values in zip(batch.rows, hidden, strict=True):
            streams[row] = values[len(values) - len(token_lists[row]) :]
    return streams
