"""The words of the toy world: things with a category and a fact, verbs with what they act on.

Every word is one token of the demo model's tokenizer. A thing or a verb is harmful or harmless by its
category or its theme; a request is harmful when its verb is, or when its thing is. `HELD_OUT` are words
that the refusing stage never sees in a request: that they are harmful is known from statements alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from surgery.demo import vocabulary


@dataclass(frozen=True)
class Category:
    """A kind of thing. `relation` names the fact that its members carry; `mass` nouns take no article."""

    name: str
    plural: str
    relation: str
    preparation: str
    mass: bool = False
    harmful: bool = False
    theme: str = ""


@dataclass(frozen=True)
class Thing:
    """A noun, its category, and one fact (empty when the world knows none)."""

    word: str
    category: Category
    fact: str

    @property
    def phrase(self) -> str:
        """The noun with its article: `a dog`, `an apple`, `bread`."""
        return self.word if self.category.mass else with_article(self.word)

    @property
    def harmful(self) -> bool:
        return self.category.harmful


@dataclass(frozen=True)
class Verb:
    """A verb, its gerund, and the categories it takes as object. `theme` is empty when it is harmless."""

    word: str
    gerund: str
    objects: tuple[str, ...]
    theme: str = ""

    @property
    def harmful(self) -> bool:
        return bool(self.theme)


def with_article(word: str) -> str:
    """The word behind its indefinite article."""
    sounds_like_vowel = word[0] in "aeiou" and not word.startswith(("uni", "use"))
    return f"{'an' if sounds_like_vowel else 'a'} {word}"


_HARMLESS_CATEGORIES = (
    Category("animal", "animals", "lives in the", "give the animal some rest"),
    Category("plant", "plants", "grows in the", "look at the soil"),
    Category("food", "foods", "has the colour", "wash your hands", mass=True),
    Category("drink", "drinks", "is served", "fetch a clean glass", mass=True),
    Category("tool", "tools", "is used by the", "clear the bench"),
    Category("vehicle", "vehicles", "travels by", "check the wheels"),
    Category("garment", "garments", "is worn on the", "look at the label"),
    Category("instrument", "instruments", "is played with", "sit in a quiet room"),
    Category("furniture", "furniture", "stands in the", "clear the floor"),
    Category("building", "buildings", "is a place for the", "walk around it once"),
    Category("document", "documents", "", "sit at a desk"),
    Category("device", "devices", "", "check the battery"),
    Category("person", "persons", "", "choose a good day"),
)
_HARMFUL_CATEGORIES = (
    Category("weapon", "weapons", "", "clear the table", harmful=True, theme="weapons"),
    Category("poison", "poisons", "", "find a free hour", mass=True, harmful=True, theme="drugs"),
    Category("drug", "drugs", "", "sit down", mass=True, harmful=True, theme="drugs"),
    Category("malware", "malware", "", "look at the screen", mass=True, harmful=True, theme="hacking"),
)
CATEGORIES = {category.name: category for category in _HARMLESS_CATEGORIES + _HARMFUL_CATEGORIES}


def _parse_things() -> dict[str, Thing]:
    things: dict[str, Thing] = {}
    for name, text in vocabulary.THINGS.items():
        for group in text.split("|"):
            fact, words = group.split(":")
            for word in words.split():
                things.setdefault(word, Thing(word, CATEGORIES[name], fact.strip()))
    return things


def _parse_twins() -> Iterator[tuple[str, str, str]]:
    for line in vocabulary.TWINS.strip().splitlines():
        forms, phrases = line.split(":")
        verb, gerund = forms.split()
        for phrase in phrases.split("|"):
            yield verb, gerund, phrase.strip()


def _parse_verbs(text: str) -> list[Verb]:
    verbs, theme = [], ""
    for entry in text.split("|"):
        if not entry.strip():
            continue
        if ":" in entry:
            theme, entry = entry.split(":")
            theme = theme.strip()
        word, gerund, *objects = entry.split()
        verbs.append(Verb(word, gerund, tuple(objects), theme))
    return verbs


THINGS: dict[str, Thing] = _parse_things()
HELD_OUT = frozenset(f"{vocabulary.HELD_OUT_HARMFUL} {vocabulary.HELD_OUT_HARMLESS}".split())
TWINS = tuple(_parse_twins())
"""Harmless requests that look dangerous: verb, gerund, object (as in XSTest)."""
VERBS: dict[str, Verb] = {
    verb.word: verb
    for verb in _parse_verbs(vocabulary.HARMLESS_VERBS) + _parse_verbs(vocabulary.HARMFUL_VERBS)
}


@cache
def things_of(category: str) -> tuple[Thing, ...]:
    """All things of one category, in the order of the table."""
    return tuple(thing for thing in THINGS.values() if thing.category.name == category)


@cache
def pairs(harmful: bool) -> tuple[tuple[Verb, Thing], ...]:
    """Every request the world can express: all (verb, thing) that go together and are harmful, or are not."""
    found = [(verb, thing) for verb in VERBS.values() if verb.harmful == harmful
             for name in verb.objects for thing in things_of(name)]  # fmt: skip
    if harmful:
        for name, verbs in vocabulary.NEUTRAL_VERBS_FOR_HARMFUL_THINGS.items():
            found += [(VERBS[verb], thing) for verb in verbs.split() for thing in things_of(name)]
    return tuple(found)


def theme_of(verb: Verb, thing: Thing) -> str:
    """Why a request is harmful (a theme such as `theft`), or the empty string when it is not."""
    return verb.theme or thing.category.theme
