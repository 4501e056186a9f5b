"""What stands at a hook point of a transformers model, by hooks on its decoder blocks.

resid_pre  l   input of block l  = hidden_states[l]
resid_post l   output of block l = hidden_states[l + 1], but for the last block: transformers puts the
                                   final norm into the last entry, the hook stands before it
mlp        l   what the MLP module of block l reads and what it returns, side by side in one row
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch

from surgery.errors import SourceError
from trainer.config import HookSettings
from trainer.subject.model import Subject
from trainer.tokens import TokenBatch

Change = Callable[
    [torch.Tensor, torch.Tensor], torch.Tensor
]  # what is read, what is written -> written instead


class _Reached(Exception):
    """Ends a forward pass early: a signal, never an error."""


@contextmanager
def hooked(subject: Subject, hook: HookSettings, change: Change) -> Iterator[None]:
    """While open, what is written at `hook` is what `change` makes of what is read and what is written there.

    Both are the residual stream (batch, position, d_model) except at `mlp`, where they are the module's input
    and output.
    """
    block = subject.blocks[hook.layer]

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if args:
            return (change(args[0], args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"], kwargs["hidden_states"])}

    def after(_: Any, args: Any, output: Any) -> Any:
        return (
            (change(output[0], output[0]), *output[1:])
            if isinstance(output, tuple)
            else change(output, output)
        )

    if hook.point == "resid_pre":
        handle = block.register_forward_pre_hook(before, with_kwargs=True)
    elif hook.point == "resid_post":
        handle = block.register_forward_hook(after)
    else:
        handle = _mlp(subject, hook.layer).register_forward_hook(lambda _, args, out: change(args[0], out))
    try:
        yield
    finally:
        handle.remove()


def _mlp(subject: Subject, layer: int) -> torch.nn.Module:
    module = getattr(subject.blocks[layer], "mlp", None)
    if not isinstance(module, torch.nn.Module):
        raise SourceError(
            f"hook.point: {subject.name} has no module `mlp` in layer {layer}; choose another point"
        )
    return module


def model_inputs(subject: Subject, batch: TokenBatch) -> dict[str, Any]:
    """What the model is called with; packed texts get a mask of their own, additive (row, 1, query, key)."""
    device = subject.model.device
    inputs: dict[str, Any] = {"input_ids": torch.from_numpy(batch.ids).to(device), "use_cache": False}
    if not batch.packed:
        return {**inputs, "attention_mask": torch.from_numpy(batch.real.astype(np.int64)).to(device)}
    seen = torch.from_numpy(batch.visible()).to(device)[:, None]
    floor = torch.finfo(subject.model.dtype).min
    mask = torch.zeros(seen.shape, dtype=subject.model.dtype, device=device).masked_fill(~seen, floor)
    return {**inputs, "attention_mask": mask, "position_ids": torch.from_numpy(batch.positions).to(device)}


def activations_of(hook: HookSettings, read: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
    """What is learnt of what is read and written at a hook point, float32: at `mlp` both, side by side."""
    both = torch.cat([read, written], -1) if hook.point == "mlp" else written
    return both.float()


def residuals_at(
    subject: Subject, batch: TokenBatch, hooks: Sequence[HookSettings]
) -> dict[HookSettings, torch.Tensor]:
    """Activations at hook points, float32 (batch, position, d_model), at `mlp` (batch, position, 2 d_model):
    input and output; from one pass, which ends at the last of them."""
    caught: dict[HookSettings, torch.Tensor] = {}

    def catch(hook: HookSettings, read: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        caught[hook] = activations_of(hook, read, written)
        if len(caught) == len(hooks):
            raise _Reached
        return written

    with torch.no_grad(), ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hooked(subject, hook, partial(catch, hook)))
        stack.enter_context(suppress(_Reached))
        subject.model(**model_inputs(subject, batch))
    return caught
