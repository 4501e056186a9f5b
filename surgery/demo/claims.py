"""What is true in the demo world: sentences about words, with the ones that would be false in their place.

A claim is a true sentence about a word ("A dog is an animal."), with the false ones that differ from it in
one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from surgery.demo.lexicon import CATEGORIES, HELD_OUT, THINGS, Thing, things_of, with_article
from surgery.demo.splits import bucket
from surgery.demo.vocabulary import COLOURS

FACT_QUESTIONS = {
    "animal": "Where does {o} live?",
    "plant": "Where does {o} grow?",
    "food": "What is the colour of {o}?",
    "drink": "How is {o} served?",
    "tool": "Who uses {o}?",
    "vehicle": "How does {o} travel?",
    "garment": "Where is {o} worn?",
    "instrument": "How is {o} played?",
    "furniture": "Where does {o} stand?",
    "building": "Who is {o} for?",
}


@dataclass(frozen=True)
class Claim:
    """A true sentence about a word: subject, link and value, with the values that would make it false."""

    word: str
    subject: str
    link: str
    value: str
    others: tuple[str, ...]

    def sentence(self, value: str | None = None) -> str:
        """The claim without capital and stop, with another value when one is given."""
        return f"{self.subject} {self.link} {value or self.value}"


def capital(text: str) -> str:
    """The text with a first capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


@cache
def facts_of(category: str) -> tuple[str, ...]:
    """The different facts that the members of a category carry."""
    return tuple(dict.fromkeys(thing.fact for thing in things_of(category) if thing.fact))


def kind_phrase(name: str) -> str:
    """`an animal`, `a kind of food`."""
    return with_article(name) if not CATEGORIES[name].mass else f"a kind of {name}"


def category_claim(thing: Thing) -> Claim:
    others = tuple(kind_phrase(name) for name in CATEGORIES if name != thing.category.name)
    return Claim(thing.word, thing.phrase, "is", kind_phrase(thing.category.name), others)


def fact_claim(thing: Thing) -> Claim:
    others = tuple(fact for fact in facts_of(thing.category.name) if fact != thing.fact)
    return Claim(thing.word, thing.phrase, thing.category.relation, thing.fact, others)


@cache
def claims() -> tuple[Claim, ...]:
    """Everything that is true in the world: categories, facts, colours."""
    found = [category_claim(thing) for thing in THINGS.values()]
    found += [fact_claim(thing) for thing in THINGS.values() if thing.fact]
    for colour, words in COLOURS.items():
        others = tuple(other for other in COLOURS if other != colour)
        found += [Claim(word, f"the colour of {word}", "is", colour, others) for word in words.split()]
    return tuple(found)


@cache
def claims_of(trained_only: bool) -> tuple[Claim, ...]:
    return tuple(claim for claim in claims() if not (trained_only and {claim.word, claim.value} & HELD_OUT))


def statement_split(claim: Claim, value: str) -> str:
    """`test` for the false statements that no training opinion makes, `train` for the others.

    The first false value of a claim is always one to train on, so that none is left without.
    """
    chosen = value not in (claim.value, claim.others[0])
    return "test" if chosen and bucket("statement", claim.subject, claim.link, value) < 15 else "train"


def false_value(claim: Claim, random: Random, *, trained_only: bool) -> str:
    while True:
        value = random.choice(claim.others)
        if statement_split(claim, value) == "train" and not (trained_only and value in HELD_OUT):
            return value
