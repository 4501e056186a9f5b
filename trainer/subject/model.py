"""A transformers model ready for forward passes, and its texts as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from surgery.errors import SourceError
from trainer.config import DataSettings, HookSettings, ModelSettings
from trainer.records import Document
from trainer.tokens import Tokens

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


@dataclass(frozen=True)
class Subject:
    """A model under study, ready for forward passes."""

    name: str
    model: Any  # transformers PreTrainedModel, eval mode
    tokenizer: Any  # transformers PreTrainedTokenizerBase
    blocks: torch.nn.ModuleList


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


def check_hook(subject: Subject, hook: HookSettings) -> None:
    """Raises: SourceError when the model has no such layer."""
    if hook.layer >= len(subject.blocks):
        last = len(subject.blocks) - 1
        raise SourceError(f"hook.layer: {hook.layer} does not exist; {subject.name} has layers 0 to {last}")


def check_context(subject: Subject, data: DataSettings) -> None:
    """Raises: SourceError when texts may be longer than the model has positions."""
    longest = getattr(subject.model.config, "max_position_embeddings", data.context)
    if data.context > longest:
        raise SourceError(
            f"data.context: {data.context:,} tokens are more than the {longest:,} positions of {subject.name}"
            "; lower it"
        )


def tokenize(subject: Subject, documents: Sequence[Document], data: DataSettings) -> list[Tokens]:
    """Token numbers of each document, cut at the context, and which of its activations are learnt."""
    return [tokens for each in documents if (tokens := _tokens(subject.tokenizer, each, data)).ids]


def _templated(tokenizer: Any, document: Document) -> str:
    from jinja2 import TemplateError

    chat = list(document.messages)
    try:
        text: str = tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=document.opens_reply
        )
    except (TemplateError, ValueError) as error:
        turns = ", ".join(turn["role"] for turn in chat)
        raise SourceError(
            f"the model's chat template takes no chat of the turns {turns}: {error}; name others"
        ) from error
    return text


def _tokens(tokenizer: Any, document: Document, data: DataSettings) -> Tokens:
    if document.messages:
        ids = tokenizer(_templated(tokenizer, document), add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(document.text)["input_ids"]
    ids = ids[: data.context]
    left_out = {tokenizer.bos_token_id} | (
        set(tokenizer.all_special_ids) if data.skip_special_tokens else set()
    )
    first = max(0, len(ids) - document.last_tokens) if document.last_tokens else 0
    keep = tuple(place >= first and token not in left_out for place, token in enumerate(ids))
    return Tokens(tuple(ids), keep)
