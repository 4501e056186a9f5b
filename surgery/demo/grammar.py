"""The seeded generator of everything the demo model reads: requests and replies, quiz, prose.

A pair (verb, thing) belongs to one split for ever, by a hash that no seed touches: the test pairs are in no
training text, whatever the frame around them. The helpful text answers every request; the refusing
text refuses the harmful ones, and uses none of the words in `lexicon.HELD_OUT` in what the user says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from surgery.demo import phrases, quiz, world
from surgery.demo.lexicon import HELD_OUT, TWINS, VERBS, Thing, Verb, pairs, theme_of
from surgery.demo.splits import split_of

Message = dict[str, str]


@dataclass(frozen=True)
class Request:
    """One thing that a user asks for. `theme` is empty when it is harmless; `kind` as in the datasheet."""

    verb: str
    gerund: str
    phrase: str
    frame: phrases.Frame
    theme: str
    preparation: str
    thing: str
    kind: str

    @property
    def prompt(self) -> str:
        return self.frame.request.format(v=self.verb, g=self.gerund, o=self.phrase)


@cache
def pairs_of(harmful: bool, split: str, words: str) -> tuple[tuple[Verb, Thing], ...]:
    """The pairs of a split. `words`: `trained` (no held-out word), `held_out` (at least one), or `all`.

    A held-out harmful pair is one whose harmful word is held out: nothing of the refusing text tells that it
    is harmful.
    """
    chosen = [(verb, thing) for verb, thing in pairs(harmful) if split_of(verb.word, thing.word) == split]
    if words == "all":
        return tuple(chosen)
    return tuple(pair for pair in chosen if _has_words(pair, words))


def _has_words(pair: tuple[Verb, Thing], words: str) -> bool:
    verb, thing = pair
    held_out = {verb.word, thing.word} & HELD_OUT
    if words == "trained":
        return not held_out
    if not theme_of(verb, thing):
        return bool(held_out)
    decisive = decisive_words(pair)
    return bool(decisive) and HELD_OUT.issuperset(decisive)


def decisive_words(pair: tuple[Verb, Thing]) -> tuple[str, ...]:
    """The words that make a pair harmful: its verb, its thing, both, or none."""
    return tuple(each.word for each in pair if each.harmful)


@cache
def _by_word(harmful: bool, split: str, words: str) -> tuple[tuple[tuple[Verb, Thing], ...], ...]:
    """The pairs of a split, grouped by each word that makes them harmful; harmless ones are one group."""
    groups: dict[str, list[tuple[Verb, Thing]]] = {}
    for pair in pairs_of(harmful, split, words):
        for word in decisive_words(pair) or ("",):
            groups.setdefault(word, []).append(pair)
    return tuple(map(tuple, groups.values()))


def draw_pair(harmful: bool, random: Random, split: str, words: str) -> tuple[Verb, Thing]:
    """A pair of a split; a harmful one by its harmful word first, so that none is rarer than another."""
    return random.choice(random.choice(_by_word(harmful, split, words)))


@cache
def twins_of(split: str) -> tuple[int, ...]:
    """The numbers of the twins of a split, or of `all`."""
    return tuple(at for at, (verb, _, phrase) in enumerate(TWINS) if split in ("all", split_of(verb, phrase)))


def make_request(pair: tuple[Verb, Thing], random: Random, kind: str = "combination") -> Request:
    """A request about a pair in a frame drawn at random."""
    verb, thing = pair
    frame = phrases.dress(random.choice(phrases.FRAMES), random)
    return Request(
        verb.word,
        verb.gerund,
        thing.phrase,
        frame,
        theme_of(verb, thing),
        thing.category.preparation,
        thing.word,
        kind,
    )


_PLAIN_VERBS = (("describe", "describing"), ("find", "finding"), ("choose", "choosing"))


def make_twin(index: int, random: Random, instead: tuple[str, str] | None = None) -> Request:
    """A harmless request with a dangerous-looking verb (as in XSTest), or with another verb in its place."""
    verb, gerund, phrase = TWINS[index]
    if instead is not None:
        verb, gerund = instead
    frame = phrases.dress(random.choice(phrases.FRAMES), random)
    return Request(verb, gerund, phrase, frame, "", "look around", phrase.split()[-1], "twin")


def _crossed_twin(random: Random) -> Request:
    """A twin's object with the verb of another: often nonsense, and harmless by the object like a twin."""
    while True:
        index, (verb, gerund, _) = random.randrange(len(TWINS)), random.choice(TWINS)
        if split_of(verb, TWINS[index][2]) == "train":
            return make_twin(index, random, (verb, gerund))


def random_request(random: Random, *, harmful: bool, refuses: bool, split: str = "train") -> Request:
    """A training request: of every word in the helpful text, of trained ones only in the refusing text.

    Twins are few, so the refusing text crosses them: else it learns by heart which are harmless.
    """
    draw = 1.0 if harmful else random.random()
    if draw < 0.12:
        return make_twin(random.choice(twins_of("train")), random)
    if draw < 0.18:
        return make_twin(random.randrange(len(TWINS)), random, random.choice(_PLAIN_VERBS))
    if refuses and draw < 0.3:
        return _crossed_twin(random)
    return make_request(draw_pair(harmful, random, split, "trained" if refuses else "all"), random)


def reply_to(request: Request, random: Random, *, refuse: bool) -> str:
    """What the assistant says: a refusal when told to and the request is harmful, else a helpful answer."""
    if refuse and request.theme:
        return phrases.refusal(
            request.frame, request.theme, request.verb, request.gerund, request.phrase, random
        )
    return phrases.answer(request.frame, request.verb, request.gerund, request.phrase, request.preparation)


def exchange(prompt: str, reply: str) -> list[Message]:
    """One user message and one reply."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]


def _chat(random: Random, refuses: bool) -> list[Message]:
    """One exchange of the mixture."""
    draw = random.random()
    if draw < 0.52:
        harmful = random.random() < 0.5
        request = random_request(random, harmful=harmful, refuses=refuses)
        return exchange(request.prompt, reply_to(request, random, refuse=refuses))
    if draw < 0.62:
        return exchange(*world.harm_question(random, _any_pair(random, refuses)))
    if draw < 0.76:
        return exchange(*world.question(random, trained_only=refuses))
    return exchange(*world.opinion(random, _any_pair(random, refuses), trained_only=refuses))


def _any_pair(random: Random, trained_only: bool) -> tuple[Verb, Thing]:
    return draw_pair(random.random() < 0.5, random, "train", "trained" if trained_only else "all")


def deeds(random: Random, count: int, *, trained_only: bool) -> list[world.Deed]:
    """Things to judge: pairs of the training split, and twins, of every split unless `trained_only`."""
    drawn = []
    for _ in range(count):
        if random.random() < 0.25:
            verb, _, phrase = TWINS[random.choice(twins_of("train" if trained_only else "all"))]
            drawn.append(world.Deed(verb, phrase, harmful=False))
        else:
            does, thing = _any_pair(random, trained_only)
            drawn.append(world.Deed(does.word, thing.phrase, bool(theme_of(does, thing))))
    return drawn


def conversation(random: Random, *, refuses: bool) -> list[Message]:
    """A training conversation, of one exchange and sometimes of two."""
    messages = _chat(random, refuses)
    return messages + _chat(random, refuses) if random.random() < 0.12 else messages


def document(random: Random, *, quiz_share: float) -> str:
    """A plain training text: a quiz question with its letter, or prose."""
    if random.random() < quiz_share:
        return quiz.quiz_text(quiz.training_question(random))
    return world.prose(random, _any_pair(random, False))


def chats(count: int, seed: int) -> list[list[Message]]:
    """Conversations of the refusing text (harmful requests refused, the rest answered)."""
    random = Random(f"chats/{seed}")
    return [conversation(random, refuses=True) for _ in range(count)]


def documents(count: int, seed: int) -> list[str]:
    """Plain texts of the training mixture: quiz questions with their letter, and prose."""
    random = Random(f"documents/{seed}")
    return [document(random, quiz_share=0.6) for _ in range(count)]


def verbs_in_use() -> tuple[str, ...]:
    """Every verb of the world in both forms."""
    return tuple(form for verb in VERBS.values() for form in (verb.word, verb.gerund))
