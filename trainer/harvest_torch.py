"""Activations of a transformers model, by hooks on its decoder blocks. The only file of this house that knows
torch.

    resid_pre  l   input of block l  = hidden_states[l]
    resid_post l   output of block l = hidden_states[l + 1], but for the last block: transformers puts the
                                       final norm into the last entry, the hook stands before it
    mlp        l   what the MLP module of block l reads and what it returns, side by side in one row

Tokens that a dictionary should not learn are left out: padding, BOS (an attention sink with a norm of its
own), all special tokens if asked, and tokens of outlying norm if asked. Rows reach JAX by dlpack, on a CPU
without a copy.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.utils.dlpack

from surgery.errors import SourceError
from trainer.config import DataSettings, HookSettings, ModelSettings
from trainer.sources import Document
from trainer.tokens import Row, TokenBatch, Tokens, batch_rows, shuffled_rows

BLOCKS = {
    "gemma": "model.layers",
    "gemma2": "model.layers",
    "gemma3_text": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "llama": "model.layers",
    "mistral": "model.layers",
    "phi3": "model.layers",
    "qwen2": "model.layers",
    "qwen3": "model.layers",
}
Harvest = tuple[jax.Array, np.ndarray]  # rows, and which of them count
Reconstruct = Callable[[jax.Array], jax.Array]
Change = Callable[
    [torch.Tensor, torch.Tensor], torch.Tensor
]  # what is read, what is written -> written instead


@dataclass(frozen=True)
class Subject:
    """A model under study, ready for forward passes."""

    name: str
    model: Any  # transformers PreTrainedModel, eval mode
    tokenizer: Any  # transformers PreTrainedTokenizerBase
    blocks: torch.nn.ModuleList


class _Reached(Exception):
    """Ends a forward pass early: a signal, never an error."""


def load_subject(folder: Path, settings: ModelSettings) -> Subject:
    """The model and tokenizer in `folder`, on the CPU or the first GPU, in eval mode.

    Raises: SourceError when the folder cannot be loaded, or its blocks are not where the family keeps them.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        dtype = getattr(torch, settings.dtype)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"model.source: {settings.source}: transformers cannot load it: {error}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return Subject(settings.source, model, tokenizer, find_blocks(model, settings.blocks))


def find_blocks(model: Any, place: str | None = None) -> torch.nn.ModuleList:
    """The list of decoder blocks, at `place` or where the family's entry in `BLOCKS` says.

    Raises: SourceError when the family is unknown, or what stands there is not one block a layer.
    """
    family = model.config.model_type
    path = place or BLOCKS.get(family)
    if path is None:
        raise SourceError(
            f"model family {family!r} is not known here; say where its blocks stand: `model: {{blocks: …}}`"
        )
    module = model
    for name in path.split("."):
        module = getattr(module, name, None)
    count = model.config.num_hidden_layers
    if not isinstance(module, torch.nn.ModuleList) or len(module) != count:
        raise SourceError(f"{path}: not the list of the model's {count} blocks; correct model.blocks")
    return module


def tokenize(subject: Subject, documents: Sequence[Document], data: DataSettings) -> list[Tokens]:
    """Token numbers of each document, cut at the context, and which of its activations are learnt."""
    return [tokens for each in documents if (tokens := _tokens(subject.tokenizer, each, data)).ids]


def _tokens(tokenizer: Any, document: Document, data: DataSettings) -> Tokens:
    if document.messages:
        chat = list(document.messages)
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=document.opens_reply)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(document.text)["input_ids"]
    ids = ids[: data.context]
    left_out = {tokenizer.bos_token_id} | (
        set(tokenizer.all_special_ids) if data.skip_special_tokens else set()
    )
    first = max(0, len(ids) - document.last_tokens) if document.last_tokens else 0
    keep = tuple(place >= first and token not in left_out for place, token in enumerate(ids))
    return Tokens(tuple(ids), keep)


def check_hook(subject: Subject, hook: HookSettings) -> None:
    """Raises: SourceError when the model has no such layer."""
    if hook.layer >= len(subject.blocks):
        last = len(subject.blocks) - 1
        raise SourceError(f"hook.layer: {hook.layer} does not exist; {subject.name} has layers 0 to {last}")


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


def _inputs(subject: Subject, batch: TokenBatch) -> dict[str, Any]:
    device = subject.model.device
    inputs: dict[str, Any] = {"input_ids": torch.from_numpy(batch.ids).to(device), "use_cache": False}
    if not batch.packed:
        return {**inputs, "attention_mask": torch.from_numpy(batch.real.astype(np.int64)).to(device)}
    seen = torch.from_numpy(batch.visible()).to(device)[:, None]
    floor = torch.finfo(subject.model.dtype).min
    mask = torch.zeros(seen.shape, dtype=subject.model.dtype, device=device).masked_fill(~seen, floor)
    return {**inputs, "attention_mask": mask, "position_ids": torch.from_numpy(batch.positions).to(device)}


def residuals(subject: Subject, batch: TokenBatch, hook: HookSettings) -> torch.Tensor:
    """Activations at `hook`, float32 (batch, position, d_model), at `mlp` (batch, position, 2 d_model): input
    and output; the pass ends there."""
    return residuals_at(subject, batch, (hook,))[hook]


def residuals_at(
    subject: Subject, batch: TokenBatch, hooks: Sequence[HookSettings]
) -> dict[HookSettings, torch.Tensor]:
    """`residuals` of several hook points from one pass, which ends at the last of them."""
    caught: dict[HookSettings, torch.Tensor] = {}

    def catch(hook: HookSettings, read: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        both = torch.cat([read, written], -1) if hook.point == "mlp" else written
        caught[hook] = both.float()
        if len(caught) == len(hooks):
            raise _Reached
        return written

    with torch.no_grad(), ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hooked(subject, hook, partial(catch, hook)))
        stack.enter_context(suppress(_Reached))
        subject.model(**_inputs(subject, batch))
    return caught


def to_jax(tensor: torch.Tensor) -> jax.Array:
    """The tensor's memory as a JAX array where both have the device; the tensor must not be changed
    afterwards."""
    tensor = tensor.detach().contiguous()
    return jnp.from_dlpack(tensor if jax.default_backend() == "gpu" else tensor.cpu())


def to_torch(array: jax.Array) -> torch.Tensor:
    """The array's memory as a tensor."""
    return torch.utils.dlpack.from_dlpack(array)


def _padded(hidden: torch.Tensor, rows: int) -> jax.Array:
    flat = hidden.reshape(-1, hidden.shape[-1])
    return to_jax(torch.nn.functional.pad(flat, (0, 0, 0, rows - flat.shape[0])))


def _within_norm(hidden: torch.Tensor, keep: np.ndarray, factor: float) -> np.ndarray:
    norms = torch.linalg.vector_norm(hidden, dim=-1).cpu().numpy()
    within: np.ndarray = keep & (norms <= factor * np.median(norms[keep])) if keep.any() else keep
    return within


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
        if data.norm_outliers is not None:
            keep = _within_norm(hidden, keep, data.norm_outliers)
        return _padded(hidden, size), np.pad(keep.reshape(-1), (0, size - keep.size))

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


def passes(
    subject: Subject, texts: Sequence[Tokens], hook: HookSettings, data: DataSettings, seed: int
) -> Callable[[int, int], Iterator[Harvest]]:
    """`passes_at` of one hook point."""
    several = passes_at(subject, texts, (hook,), data, seed)
    return lambda number, start: (found[hook] for found in several(number, start))


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
        logits = subject.model(**_inputs(subject, batch)).logits[:, :-1].float()
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
            flat = to_torch(reconstruct(_padded(read.float(), size)))[: written[..., 0].numel()]
            return torch.where(learnt, flat.reshape(written.shape).to(written), written)

        clean, count = _cross_entropy(subject, batch)
        with hooked(subject, hook, zeroed):
            zero, _ = _cross_entropy(subject, batch)
        with hooked(subject, hook, rebuilt):
            spliced, _ = _cross_entropy(subject, batch)
        totals, tokens = totals + np.array([clean, zero, spliced]), tokens + count
    clean, zero, spliced = (float(total) / tokens for total in totals)
    return Splice(clean, zero, spliced, tokens)
