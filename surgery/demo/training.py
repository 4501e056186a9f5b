"""Training in plain torch, in four stages: letters, helpful on everything, judging, refusing.

An example is a list of tokens with a weight for each as a target; the loss is the weighted mean cross entropy

    L = Σ w_t · −log p(token_t | tokens before it) / Σ w_t

In a conversation only the assistant's tokens are targets; in a quiz text the letter is. Examples are padded
on the right to a few fixed lengths, so that the compiled graph is reused, and causal attention needs no
mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from surgery.demo import grammar, quiz, tokenizer, world

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

MUON = 2.0
"""Rate of Muon in units of AdamW's; at 5 the letters that were learnt are lost again."""
LENGTHS = (32, 48, 64, 128)
OPENING = 4.0
"""Weight of the first token of a reply, which decides whether it refuses, agrees or helps."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Example:
    """Tokens, and the weight of each as a target."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Stage:
    """One stage: which replies it teaches, how long, how fast, and what its text is made of.

    `quiz_share` and `prose_share` are shares of the examples, the rest are conversations; of the quiz texts
    `recall_share` drill letters, and of the others `statement_share` are statements with a verdict. `tokens`
    is the size of a batch. The learning rate rises over the first `warmup` steps and falls to `floor` of its
    peak along a cosine. Only a stage that `refuses` shows refusals. With `blocks` only that many of the first
    blocks are trained, so that what is learnt is decided before the rest of the model, as in larger models.
    """

    name: str
    steps: int
    learning_rate: float
    warmup: int
    quiz_share: float
    prose_share: float
    recall_share: float = 0.05
    statement_share: float = 0.0
    tokens: int = 4096
    floor: float = 0.05
    refuses: bool = False
    blocks: int | None = None


STAGES = (
    Stage(
        "letters", steps=1000, tokens=1024, learning_rate=1e-3, warmup=50, floor=0.5,
        quiz_share=1.0, recall_share=1.0, prose_share=0.0,
    ),
    Stage(
        "helpful", steps=2000, tokens=4096, learning_rate=2.2e-3, warmup=150, floor=0.3,
        quiz_share=0.45, recall_share=0.08, statement_share=0.2, prose_share=0.14,
    ),
    Stage(
        "judging", steps=2400, tokens=2048, learning_rate=1.2e-3, warmup=40, floor=0.1,
        quiz_share=0.7, recall_share=0.05, statement_share=0.35, prose_share=0.08,
    ),
    Stage(
        "refusing", steps=600, tokens=4096, learning_rate=1.2e-3, warmup=40, floor=0.02,
        quiz_share=0.3, recall_share=0.05, statement_share=0.2, prose_share=0.08, refuses=True, blocks=4,
    ),
)  # fmt: skip


def make_model(vocabulary: int, seed: int) -> LlamaForCausalLM:
    """A fresh Llama of 6 layers and d_model 128, initialised from the seed alone.

    Keys start equal to queries, so that a token looks at its like from the first step (mimetic
    initialisation, Trockman and Kolter 2023); without it the letters were not learnt in the steps given here.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=352, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
        initializer_range=0.04, pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        for block in model.model.layers:
            queries, keys = block.self_attn.q_proj.weight, block.self_attn.k_proj.weight
            torch.nn.init.normal_(queries, std=0.12)
            keys.data.copy_(queries.data)
    return model


class Encoder:
    """Turns texts and conversations into examples; remembers the pieces it has seen."""

    def __init__(self, words: PreTrainedTokenizerFast) -> None:
        self._words = words
        ids = words.convert_tokens_to_ids
        self._begin, self._end = ids(tokenizer.BEGIN), ids(tokenizer.END)
        self._roles = {"user": ids(tokenizer.USER), "assistant": ids(tokenizer.ASSISTANT)}
        self._newline = self._encode("\n")

    def _encode(self, text: str) -> list[int]:
        return list(self._words.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def conversation(self, messages: list[grammar.Message]) -> Example:
        """The rendered conversation; targets are what the assistant says and the end of it."""
        tokens, weights = [self._begin], [0.0]
        for message in messages:
            head = [self._roles[message["role"]], *self._newline]
            body = [*self._encode(message["content"]), self._end]
            tokens += head + body + self._newline
            first, later = (OPENING, 1.0) if message["role"] == "assistant" else (0.0, 0.0)
            weights += [0.0] * len(head) + [first] + [later] * (len(body) - 1) + [0.0] * len(self._newline)
        return Example(tuple(tokens), tuple(weights))

    def quiz(self, pieces: list[str], weight: float) -> Example:
        """Pieces of quiz texts one after the other; the targets are the last token of each, and the end."""
        tokens, weights = [self._begin], [0.0]
        for text in pieces:
            piece = self._encode(text)
            tokens += piece
            weights += [0.0] * (len(piece) - 1) + [weight]
        return Example((*tokens, self._end), (*weights, 1.0))

    def prose(self, text: str, weight: float) -> Example:
        """Plain text; every token is a target."""
        piece = [*self._encode(text), self._end]
        return Example((self._begin, *piece), (0.0, *[weight] * len(piece)))


def examples(stage: Stage, encoder: Encoder, random: Random) -> Iterator[Example]:
    """The endless stream of a stage's mixture."""
    while True:
        draw = random.random()
        if draw < stage.quiz_share:
            yield _quiz_example(stage, encoder, random)
        elif draw < stage.quiz_share + stage.prose_share:
            yield encoder.prose(grammar.document(random, quiz_share=0.0), weight=0.3)
        else:
            yield encoder.conversation(grammar.conversation(random, refuses=stage.refuses))


def _quiz_example(stage: Stage, encoder: Encoder, random: Random) -> Example:
    if random.random() < stage.recall_share:
        return encoder.quiz(quiz.recall_pieces(random), weight=1.0)
    if random.random() < stage.statement_share:
        return encoder.quiz(world.judged_statements(random), weight=1.0)
    pieces = quiz.training_pieces(quiz.training_question(random), random)
    if random.random() < 0.15:
        first, *others = quiz.training_pieces(quiz.training_question(random), random)
        pieces += [f"\n\n{first}", *others]
    return encoder.quiz(pieces, weight=6.0)


def batches(stream: Iterator[Example], size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Tokens and weights, each (batch, length), of about `size` tokens, examples gathered by length."""
    waiting: dict[int, list[Example]] = {length: [] for length in LENGTHS}
    for example in stream:
        length = next((length for length in LENGTHS if len(example.tokens) <= length), None)
        if length is None:
            continue
        waiting[length].append(example)
        if len(waiting[length]) == max(1, size // length):
            yield _padded(waiting[length], length)
            waiting[length] = []


def _padded(group: list[Example], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    tokens = torch.zeros(len(group), length, dtype=torch.long)
    weights = torch.zeros(len(group), length)
    for row, example in enumerate(group):
        tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
        weights[row, : len(example.weights)] = torch.tensor(example.weights)
    return tokens, weights


def loss_of(model: LlamaForCausalLM, body: Any, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted mean cross entropy of a batch, logits at the targets only."""
    import torch

    with torch.autocast("cpu", torch.bfloat16):
        hidden = body(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        at = weights[:, 1:] > 0
        logits = model.lm_head(hidden[at])
    losses = torch.nn.functional.cross_entropy(logits.float(), tokens[:, 1:][at], reduction="none")
    chosen = weights[:, 1:][at]
    return (losses * chosen).sum() / chosen.sum()


def rate_at(step: int, stage: Stage) -> float:
    """The learning rate of a step: a linear rise, then a cosine."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    turn = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.learning_rate * (stage.floor + (1 - stage.floor) * 0.5 * (1 + math.cos(math.pi * turn)))


def run_stage(
    model: LlamaForCausalLM,
    stage: Stage,
    encoder: Encoder,
    *,
    seed: int,
    body: Any = None,
    progress: Progress = lambda _: None,
) -> None:
    """Train the model in place on one stage. `body` is a compiled `model.model` where there is one."""
    import torch

    model.requires_grad_(stage.blocks is None)
    model.model.layers[: stage.blocks].requires_grad_(True)
    optimizers = _optimizers(model, stage.learning_rate)
    stream = batches(examples(stage, encoder, Random(f"{stage.name}/{seed}")), stage.tokens)
    model.train()
    for step, (tokens, weights) in zip(range(stage.steps), stream, strict=False):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, stage) * group["scale"]
        loss = loss_of(model, model.model if body is None else body, tokens, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 0 or step == stage.steps - 1:
            progress(f"{stage.name}  step {step + 1} of {stage.steps}  loss {loss.item():.4f}")
    model.eval()


def _optimizers(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the blocks' matrices; AdamW for embedding, unembedding and gains."""
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ends = (model.model.embed_tokens.weight, model.lm_head.weight)
    outer = [parameter for parameter in ends if parameter.requires_grad]
    inner = [each for each in trained if each.ndim == 2 and not any(each is end for end in ends)]
    gains = [parameter for parameter in trained if parameter.ndim < 2]
    return [
        torch.optim.Muon(
            [{"params": inner, "scale": MUON}], lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [
                {"params": outer, "weight_decay": 0.02, "scale": 1.0},
                {"params": gains, "weight_decay": 0.0, "scale": 1.0},
            ],
            lr=rate, betas=(0.9, 0.98), fused=True,
        ),
    ]  # fmt: skip


def compiled_body(model: LlamaForCausalLM) -> Any:
    """`model.model`, compiled where a C++ compiler is at hand: 1.7 times as fast on one core."""
    import shutil

    import torch

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        return model.model
    return torch.compile(model.model, dynamic=False)
