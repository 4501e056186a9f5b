"""A causal language model with its tokenizer, as the rest of the library sees it.

Everything takes lists of token lists and pads on the left by itself, so results do not depend on how prompts
are batched. Nothing here changes the model: edits at run time are context managers in `interventions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

from surgery.errors import SourceError
from surgery.model.chat import encode_chat
from surgery.model.families import UNPADDED

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int], None]
BATCH_TOKENS = 8192
"""Most tokens that go through the model at once."""
BATCH_LOGITS = 1 << 27
"""Most logits held at once: 512 MB in float32."""


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model; `network` and `tokenizer` are transformers objects."""

    network: Any
    tokenizer: Any
    name: str

    @property
    def n_layers(self) -> int:
        config = self.network.config.get_text_config()  # BART counts its encoder's as num_hidden_layers
        return int(getattr(config, "decoder_layers", config.num_hidden_layers))

    @property
    def d_model(self) -> int:
        return int(self.network.config.get_text_config().hidden_size)

    @property
    def model_type(self) -> str:
        return str(self.network.config.model_type)

    @property
    def takes_prompts(self) -> bool:
        """Whether tokens alone run it, and not only beside an image or what an encoder says."""
        return "decoder_input_ids" not in signature(self.network.forward).parameters

    @property
    def pads(self) -> bool:
        """Whether prompts of different lengths may share a batch."""
        config = self.network.config
        return UNPADDED.isdisjoint((config.model_type, config.get_text_config().model_type))

    @property
    def device(self) -> Any:
        return self.network.device


def chat_tokens(model: LanguageModel, prompt: str) -> list[int]:
    """Tokens of a prompt inside the model's chat template, up to where the reply begins."""
    return encode_chat(model.tokenizer, prompt)


def plain_tokens(model: LanguageModel, text: str) -> list[int]:
    """Tokens of a text as it stands, with the special tokens the tokenizer adds by itself (BOS)."""
    return list(model.tokenizer(text)["input_ids"])


def decode(model: LanguageModel, tokens: Sequence[int]) -> str:
    """Text of tokens, without special ones."""
    return str(model.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()


@dataclass(frozen=True)
class Batch:
    """Token lists padded on the left to one width; `rows` are their numbers in the caller's order."""

    rows: tuple[int, ...]
    tokens: torch.Tensor  # (batch, position) int64
    mask: torch.Tensor  # (batch, position) 1 where a token is real
    positions: torch.Tensor  # (batch, position) 0 at a row's first real token


def batches(
    model: LanguageModel, token_lists: Sequence[Sequence[int]], *, batch_size: int | None = None
) -> Iterator[Batch]:
    """Group token lists of like length into left-padded batches of at most `BATCH_TOKENS` tokens; of the same
    length where padding would change what the model makes of them.

    Raises:
        SourceError: prompts alone do not run the model.
    """
    if not model.takes_prompts:
        raise SourceError(
            f"{model.name}: beside a prompt it reads an image or what an encoder says, so prompts alone do"
            " not run it; give the direction by `find: file`, and no `verify`"
        )
    order = sorted(range(len(token_lists)), key=lambda row: (-len(token_lists[row]), row))
    start, pads = 0, model.pads
    while start < len(order):
        width = max(1, len(token_lists[order[start]]))
        size = min(batch_size or BATCH_TOKENS, max(1, BATCH_TOKENS // width))
        rows = order[start : start + size]
        if not pads:
            rows = [row for row in rows if len(token_lists[row]) == len(token_lists[rows[0]])]
        yield _pad(model, token_lists, rows)
        start += len(rows)


def _pad(model: LanguageModel, token_lists: Sequence[Sequence[int]], rows: Sequence[int]) -> Batch:
    import torch

    width = max(len(token_lists[row]) for row in rows)
    filler = model.tokenizer.pad_token_id
    tokens = torch.full((len(rows), width), 0 if filler is None else filler, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for index, row in enumerate(rows):
        length = len(token_lists[row])
        tokens[index, width - length :] = torch.tensor(token_lists[row], dtype=torch.int64)
        mask[index, width - length :] = 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return Batch(tuple(rows), tokens.to(model.device), mask.to(model.device), positions.to(model.device))


def run(model: LanguageModel, batch: Batch, *, last: int = 0) -> torch.Tensor:
    """Logits of one forward pass, float32: (batch, position, vocabulary), or only the `last` positions."""
    import torch

    with torch.inference_mode():
        output = model.network(
            input_ids=batch.tokens,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            logits_to_keep=last,
            use_cache=False,
        )
    logits: torch.Tensor = output.logits.float()
    return logits


def final_log_probs(model: LanguageModel, token_lists: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log-probabilities of the next token after each list: (n, vocabulary), float32, on the CPU."""
    import torch

    rows: list[torch.Tensor | None] = [None] * len(token_lists)
    for batch in batches(model, token_lists):
        values = torch.log_softmax(run(model, batch, last=1)[:, -1], dim=-1).cpu()
        for row, value in zip(batch.rows, values, strict=True):
            rows[row] = value
    return torch.stack([row for row in rows if row is not None])


def continuation_log_probs(
    model: LanguageModel,
    contexts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    full: bool = False,
) -> list[torch.Tensor]:
    """Log-probabilities along continuations that are forced, not sampled.

    Returns:
        For each pair a CPU tensor over the continuation's tokens: (length,) with the log-probability of each
        token given everything before it, or with `full` the whole rows (length, vocabulary).
    """
    import torch

    joined = [
        [*context, *continuation] for context, continuation in zip(contexts, continuations, strict=True)
    ]
    results: list[torch.Tensor] = [torch.empty(0)] * len(joined)
    for batch in batches(model, joined):
        keep = max(len(continuations[row]) for row in batch.rows) + 1
        log_probs = torch.log_softmax(run(model, batch, last=keep), dim=-1)
        for index, row in enumerate(batch.rows):
            length = len(continuations[row])
            values = log_probs[index, log_probs.shape[1] - length - 1 : -1]  # (length, vocabulary)
            if not full:
                targets = torch.tensor(list(continuations[row]), device=values.device, dtype=torch.int64)
                values = values.gather(1, targets[:, None])[:, 0]
            results[row] = values.cpu()
    return results


def generate(
    model: LanguageModel,
    token_lists: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    progress: Progress | None = None,
) -> list[list[int]]:
    """Greedy replies: the new tokens of each, without the token that ended it."""
    import torch

    replies: list[list[int]] = [[] for _ in token_lists]
    ends = _end_tokens(model)
    done = 0
    for batch in batches(model, token_lists):
        with torch.inference_mode():
            output = model.network.generate(
                input_ids=batch.tokens,
                attention_mask=batch.mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=model.tokenizer.pad_token_id
                if model.tokenizer.pad_token_id is not None
                else ends[0],
            )
        for row, tokens in zip(batch.rows, output[:, batch.tokens.shape[1] :].tolist(), strict=True):
            stop = next((index for index, token in enumerate(tokens) if token in ends), len(tokens))
            replies[row] = tokens[:stop]
        done += len(batch.rows)
        if progress is not None:
            progress(done, len(token_lists))
    return replies


def _end_tokens(model: LanguageModel) -> list[int]:
    ends = model.network.generation_config.eos_token_id
    if ends is None:
        ends = model.tokenizer.eos_token_id
    if ends is None:
        return [0]
    return list(ends) if isinstance(ends, (list, tuple)) else [int(ends)]
