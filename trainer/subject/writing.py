"""Texts that the model writes itself, for a model whose training data nobody has.

    user turn    sampled after the template's opening of a user turn, until the turn ends
    reply        sampled after the template of that turn and the opening of the reply, up to the context
    without a chat template: plain text, sampled after BOS

A chat model that is given its user token and nothing else writes requests of the kind it was trained on.
Tokens are drawn from softmax(logits / temperature), cut to the likeliest share `top_p`; batches have a
generator each, seeded by (seed, number of the batch), so the same seed gives the same texts on the same
machine. Source: the post this tool follows, appendix B.
"""

from collections.abc import Iterator, Sequence
from itertools import count

import jax
import numpy as np
import torch

from surgery.errors import SourceError
from trainer.config import DataSettings, GenerateSettings, TextSource
from trainer.journal import Notice, unheard
from trainer.records import Document
from trainer.subject.model import Subject

LEAST_SHARE, ENOUGH = 0.05, 200  # of the texts tried must be of use, judged once so many were tried
CONTENT = "\u241f"  # stands for what a turn says


def write(
    subject: Subject, source: TextSource, data: DataSettings, notice: Notice = unheard
) -> list[Document]:
    """`source.count` texts by the model, `data.batch` at once.

    Raises: SourceError when it writes next to nothing of use, or several processes would write texts apart.
    """
    if jax.process_count() > 1:
        raise SourceError(
            "source: model: several processes would each write texts of their own; write them once with"
            " surgery-train generate and name the file"
        )
    settings, wanted = source.generate or GenerateSettings(), source.count or 0
    found: list[Document] = []
    for number in count():
        generator = _generator(subject, source.seed, number)
        found.extend(_batch(subject, settings, data, generator))
        tried = (number + 1) * data.batch
        notice(f"the model writes texts: {min(len(found), wanted):,} of {wanted:,}")
        if len(found) >= wanted:
            break
        if tried >= ENOUGH and len(found) < LEAST_SHARE * tried:
            raise SourceError(
                f"source: model: of {tried} texts that {subject.name} began only {len(found)} said something"
                f" and came to an end within {settings.user_tokens} tokens; raise generate.user_tokens, lower"
                " generate.temperature, or name other texts"
            )
    return [_ending(each, source.last_tokens) for each in found[:wanted]]


def _ending(text: Document, last_tokens: int | None) -> Document:
    return Document(text.text, text.messages, text.opens_reply, last_tokens)


def _generator(subject: Subject, seed: int, number: int) -> torch.Generator:
    state = int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(subject.model.device).manual_seed(state)


def _batch(
    subject: Subject, settings: GenerateSettings, data: DataSettings, generator: torch.Generator
) -> Iterator[Document]:
    tokenizer = subject.tokenizer
    if tokenizer.chat_template is None:
        opening = [[_first_token(subject)]] * data.batch
        for ids, _ in sample(subject, opening, data.context - 1, settings, generator):
            if text := tokenizer.decode(ids, skip_special_tokens=True).strip():
                yield Document(text=text)
        return
    turns = _user_turns(subject, settings, data.batch, generator)
    if not settings.replies:
        yield from (Document(messages=_chat(turn), opens_reply=True) for turn in turns)
        return
    prompts = [_ids(subject, _rendered(subject, turn, opens_reply=True)) for turn in turns]
    fitting = [(turn, ids) for turn, ids in zip(turns, prompts, strict=True) if len(ids) < data.context]
    room = [data.context - len(ids) for _, ids in fitting]
    replies = sample(subject, [ids for _, ids in fitting], max(room, default=0), settings, generator)
    for (turn, _), (ids, _), space in zip(fitting, replies, room, strict=True):
        if reply := tokenizer.decode(ids[:space], skip_special_tokens=True).strip():
            yield Document(messages=_chat(turn, reply))


def _user_turns(
    subject: Subject, settings: GenerateSettings, size: int, generator: torch.Generator
) -> list[str]:
    """What the model says in the user's place: those of `size` turns that say something and end."""
    before, after = _rendered(subject, CONTENT, opens_reply=False).split(CONTENT)
    opening, closing = [_ids(subject, before)] * size, after.strip()
    turns = []
    for ids, ended in sample(subject, opening, settings.user_tokens, settings, generator):
        text = subject.tokenizer.decode(ids, skip_special_tokens=True)
        # where a turn ends with words, not with a special token
        said, closed, _ = text.partition(closing) if closing else (text, "", "")
        if (ended or closed) and said.strip():
            turns.append(said.strip())
    return turns


def _chat(turn: str, reply: str | None = None) -> tuple[dict[str, str], ...]:
    user = {"role": "user", "content": turn}
    return (user,) if reply is None else (user, {"role": "assistant", "content": reply})


def _rendered(subject: Subject, turn: str, *, opens_reply: bool) -> str:
    text: str = subject.tokenizer.apply_chat_template(
        list(_chat(turn)), tokenize=False, add_generation_prompt=opens_reply
    )
    return text


def _ids(subject: Subject, text: str) -> list[int]:
    ids: list[int] = subject.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _first_token(subject: Subject) -> int:
    first = subject.tokenizer.bos_token_id
    first = subject.tokenizer.eos_token_id if first is None else first
    if first is None:
        raise SourceError(
            f"source: model: the tokenizer of {subject.name} has neither a chat template nor a token that"
            " begins a text; name other texts"
        )
    return int(first)


def sample(
    subject: Subject, prompts: Sequence[Sequence[int]], limit: int, settings: GenerateSettings,
    generator: torch.Generator,
) -> list[tuple[list[int], bool]]:  # fmt: skip
    """What follows each prompt: at most `limit` tokens, without the special token that ended it, and whether
    one did. Keys and values are cached; prompts are padded on the left."""
    if not prompts or limit < 1:
        return [([], False) for _ in prompts]
    device, width = subject.model.device, max(map(len, prompts))
    padded = [[0] * (width - len(ids)) + list(ids) for ids in prompts]
    told = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
    ids, mask = torch.tensor(padded, device=device), torch.tensor(told, device=device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    ends = torch.tensor(sorted(_ends(subject)), device=device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    drawn: list[torch.Tensor] = []
    cache = None
    with torch.no_grad():
        while len(drawn) < limit and not bool(ended.all()):
            out = subject.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            cache, ids = out.past_key_values, _drawn(out.logits[:, -1].float(), settings, generator)
            drawn.append(ids)
            ended |= torch.isin(ids[:, 0], ends)
            mask = torch.cat([mask, torch.ones_like(ids)], 1)
            positions = positions[:, -1:] + 1
    return [_until(row, ends.tolist()) for row in torch.cat(drawn, 1).tolist()]


def _ends(subject: Subject) -> set[int]:
    told = subject.model.generation_config.eos_token_id
    told = told if isinstance(told, list) else [told]
    return {each for each in (*told, *subject.tokenizer.all_special_ids) if each is not None}


def _until(row: list[int], ends: Sequence[int]) -> tuple[list[int], bool]:
    stop = next((place for place, token in enumerate(row) if token in ends), None)
    return (row, False) if stop is None else (row[:stop], True)


def _drawn(logits: torch.Tensor, settings: GenerateSettings, generator: torch.Generator) -> torch.Tensor:
    """One token a row (batch, 1) from logits (batch, vocabulary)."""
    shares = torch.softmax(logits / settings.temperature, -1)
    if settings.top_p < 1:
        ranked, order = shares.sort(-1, descending=True)
        beyond = ranked.cumsum(-1) - ranked >= settings.top_p
        shares = shares.scatter(-1, order, ranked.masked_fill(beyond, 0.0))
    return torch.multinomial(shares, 1, generator=generator)
