"""What the demo model learns from: tokens with a weight for each as a target, drawn from a stage's mixture.

In a conversation only the assistant's tokens are targets; in a quiz text the letter is. Examples are padded
on the right to a few fixed lengths, so that a compiled graph is reused, and causal attention needs no mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from surgery.demo import grammar, quiz, tokenizer, world
from surgery.demo.stages import Stage

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

LENGTHS = (32, 48, 64, 128)
OPENING = 4.0
"""Weight of the first token of a reply, which decides whether it refuses, agrees or helps."""


@dataclass(frozen=True)
class Example:
    """Tokens, and the weight of each as a target."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]


class Encoder:
    """Turns texts and conversations into examples."""

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
        elif draw < stage.quiz_share + stage.prose_share + stage.question_share:
            question = world.question(random, trained_only=stage.refuses)
            yield encoder.conversation(grammar.exchange(*question))
        else:
            yield encoder.conversation(grammar.conversation(random, refuses=stage.refuses))


def _quiz_example(stage: Stage, encoder: Encoder, random: Random) -> Example:
    if random.random() < stage.recall_share:
        return encoder.quiz(quiz.recall_pieces(random), weight=1.0)
    if random.random() < stage.statement_share:
        return encoder.quiz(_judged(stage, random), weight=1.0)
    pieces = quiz.training_pieces(quiz.training_question(random), random)
    if random.random() < 0.15:
        first, *others = quiz.training_pieces(quiz.training_question(random), random)
        pieces += [f"\n\n{first}", *others]
    return encoder.quiz(pieces, weight=6.0)


def _judged(stage: Stage, random: Random) -> list[str]:
    return world.judged_statements(random, grammar.deeds(random, 2, trained_only=stage.refuses))


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
