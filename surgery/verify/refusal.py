"""Greedy replies to prompts, and what the detector says of each.

Where a set's rows name a `verb` or an `object` that was asked about, a reply that does not refuse is also
checked for naming them: a model that no longer refuses may still talk of something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from surgery.model.language_model import LanguageModel, chat_tokens, decode, generate
from surgery.model.prompts import Item, PromptSet
from surgery.verify.detector import DETECTOR, classify, normalise, without_thoughts
from surgery.verify.progress import Progress, silent
from surgery.verify.records import Record, record

TOPIC_FIELDS = {"verb": 0, "object": -1}
"""Which word of each field carries its meaning: `look` of "look after", `fern` of "the old fern"."""


def measure_refusal(
    model: LanguageModel,
    prompts: PromptSet,
    *,
    side: str,
    max_new_tokens: int,
    suite: str = "refusal",
    progress: Progress = silent,
) -> tuple[Record, ...]:
    """Let the model answer every prompt and record reply and state; `suite` is `refusal` or `overrefusal`."""

    def follow(done: int, total: int) -> None:
        progress(done, total, "replies")

    contexts = [chat_tokens(model, item.prompt) for item in prompts.items]
    replies = generate(model, contexts, max_new_tokens=max_new_tokens, progress=follow)
    return tuple(
        _row(model, suite, item, side, reply, max_new_tokens)
        for item, reply in zip(prompts.items, replies, strict=True)
    )


def names_topic(reply: str, fields: Mapping[str, Any]) -> bool | None:
    """Whether a reply names every verb and object that its item names; None where the item names none.

    Words are compared by their stems at the start of a word, so `water` is found in `watering`, and `bake`
    in `baking`; a `gerund` beside the verb counts as the verb. Of several words the one that `TOPIC_FIELDS`
    names is looked for; a list means any of it.
    """
    wanted = {name: fields[name] for name in TOPIC_FIELDS if fields.get(name)}
    if not wanted:
        return None
    text = normalise(without_thoughts(reply))
    if "verb" in wanted and fields.get("gerund"):
        wanted["verb"] = [*_words(wanted["verb"]), *_words(fields["gerund"])]
    return all(
        any(_names(text, word, TOPIC_FIELDS[name]) for word in _words(value))
        for name, value in wanted.items()
    )


def _row(
    model: LanguageModel, suite: str, item: Item, side: str, tokens: Sequence[int], max_new_tokens: int
) -> Record:
    reply = decode(model, tokens)
    verdict = classify(reply)
    topic = names_topic(reply, item.fields) if verdict.state == "compliance" else None
    return record(
        suite,
        item,
        side,
        reply=reply,
        reply_tokens=len(tokens),
        finished=len(tokens) < max_new_tokens,
        state=verdict.state,
        detail=verdict.matched,
        detector=DETECTOR,
        values={} if topic is None else {"on_topic": float(topic)},
    )


def _words(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _names(text: str, words: str, which: int) -> bool:
    parts = normalise(words).split()
    return bool(parts) and re.search(rf"\b{re.escape(_stem(parts[which]))}", text) is not None


def _stem(word: str) -> str:
    """The word without the ending that its inflections drop (bake, baking; party, parties)."""
    return word[:-1] if len(word) > 3 and word[-1] in "ey" else word
