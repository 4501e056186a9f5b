"""Edits of the residual stream while a model runs: the reference that edited weights are compared with.

Ablation removes y ← y − λ Qᵀ(Q y) from what the embedding, attention and the MLP of every layer add to the
stream; that is what editing every writer does to the weights (Arditi et al. 2024, section 2.4). Addition is
h ← h + v at a layer's `resid_pre` or `resid_post`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from surgery.errors import AnatomyError
from surgery.hook_point import HookPoint
from surgery.model.language_model import LanguageModel
from surgery.model.sites import Block, Together, find_blocks

if TYPE_CHECKING:
    import torch

WRITERS = ("embedding", "attention_out", "mlp_out")
_READ = ("resid_pre", "resid_mid", "mlp_in")
"""Sites that are a module's input; the others are outputs."""
Change = Callable[["torch.Tensor"], "torch.Tensor"]


@contextmanager
def ablating(
    model: LanguageModel,
    basis: np.ndarray,
    *,
    strength: float = 1.0,
    writers: Collection[str] = WRITERS,
    layers: Collection[int] | None = None,
) -> Iterator[None]:
    """Remove a subspace from what every writer adds to the stream, so from every layer and position.

    Args:
        basis: (rank, d_model) orthonormal rows, or one unit vector (d_model,).
        strength: 1 removes, negative strengthens.
        writers: which kinds are changed, of "embedding", "attention_out", "mlp_out".
        layers: only writers of these layers; the embedding belongs to none.
    """
    import torch

    rows = torch.from_numpy(np.atleast_2d(basis)).to(model.device, torch.float32)

    def remove(hidden: torch.Tensor) -> torch.Tensor:
        # Several streams may lie side by side.
        values = hidden.float().reshape(*hidden.shape[:-1], hidden.shape[-1] // rows.shape[1], rows.shape[1])
        return (values - strength * (values @ rows.T) @ rows).reshape(hidden.shape).to(hidden.dtype)

    blocks = find_blocks(model.network)
    with ExitStack() as stack:
        if "embedding" in writers and layers is None:
            stack.enter_context(at_input(blocks[0].module, remove))
        for layer, block in enumerate(blocks):
            if layers is not None and layer not in layers:
                continue
            if "attention_out" in writers:
                stack.enter_context(at_output(block.attn_out, remove))
            if "mlp_out" in writers:
                stack.enter_context(at_output(block.mlp_out, remove))
        yield


@contextmanager
def adding(model: LanguageModel, vector: np.ndarray, point: HookPoint) -> Iterator[None]:
    """Add a steering vector, (d_model,), to the stream at every position of a hook point."""
    import torch

    steering = torch.from_numpy(np.asarray(vector)).to(model.device, torch.float32)

    def shift(hidden: torch.Tensor) -> torch.Tensor:
        return (hidden.float() + steering).to(hidden.dtype)

    block = find_blocks(model.network)[point.layer].module
    place = at_input(block, shift) if point.site == "resid_pre" else at_output(block, shift)
    with place:
        yield


@contextmanager
def changing(model: LanguageModel, point: HookPoint, change: Change) -> Iterator[None]:
    """Put what `change` makes of it in place of the tensor (batch, position, d_model) at a hook point.

    Raises:
        AnatomyError: the model has no such layer, or the site is not one module's input or output there.
    """
    blocks = find_blocks(model.network)
    if not 0 <= point.layer < len(blocks):
        raise AnatomyError(f"{point}: this model has layers 0 to {len(blocks) - 1}")
    block = blocks[point.layer]
    modules = {
        "attn_out": block.attn_out,
        "mlp_out": block.mlp_out,
        "mlp_in": block.mlp,
        "resid_mid": block.mlp_norm,
        "mlp_normalized": block.mlp_norm,
    }
    module = modules.get(point.site, block.module)
    if module is None or isinstance(module, Together):
        raise AnatomyError(
            f"{point}: no one module of this model is known to read or write that, so it cannot be hooked;"
            " resid_pre and resid_post can"
        )
    if point.site == "mlp_normalized":
        place = _before_gain(block, change)
    else:
        place = (at_input if point.site in _READ else at_output)(module, change)
    with place:
        yield


@contextmanager
def _before_gain(block: Block, change: Change) -> Iterator[None]:
    """Change what the MLP's norm makes of its input before its gain and bias."""
    import torch

    norm = copy.deepcopy(block.mlp_norm)
    with torch.no_grad():
        for name, value in norm.named_parameters():
            value.fill_(block.unit_gain if name == "weight" else 0.0)

    def hook(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        normalized = norm.forward(args[0])  # not a call, which would run the hooks copied with it
        changed = change(normalized)
        if changed is normalized:
            return output
        gained: torch.Tensor = changed * (module.weight + (1.0 - block.unit_gain))
        bias = getattr(module, "bias", None)
        return (gained if bias is None else gained + bias).to(output.dtype)

    handle = block.mlp_norm.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def at_input(module: Any, change: Change) -> Iterator[None]:
    """Put what `change` makes of it in place of the stream that a module reads."""

    def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def at_output(module: Any, change: Change) -> Iterator[None]:
    """The same with what a module gives, the first of it where that is several."""

    def hook(_: Any, args: tuple[Any, ...], output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
