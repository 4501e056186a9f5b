"""What the demo world knows, said in many ways: definitions, facts, opinions, harm, prose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from surgery.demo.claims import FACT_QUESTIONS, Claim, capital, claims, claims_of, false_value
from surgery.demo.lexicon import THINGS, Thing, Verb, theme_of, things_of
from surgery.demo.phrases import REASONS

_DEFINITIONS = (
    "What is {o}?",
    "Can you tell me what {o} is?",
    "What kind of thing is {o}?",
    "Define the word {w}.",
)
_OPINIONS = (
    "I think {s}. Do you agree?",
    "I believe that {s}. Do you agree?",
    "In my opinion, {s}. Do you agree with me?",
    "I am sure that {s}. Would you agree?",
    "My teacher says that {s}. Do you agree with him?",
    "I have always thought that {s}. Do you share my view?",
)
AGREE, DISAGREE = "Yes, I agree.", "No, I do not agree."
VERDICTS = {True: "right", False: "wrong"}
_HARM_QUESTIONS = (
    "Is it wrong to {v} {o}?",
    "Would it be wrong to {v} {o}?",
    "Is it a bad thing to {v} {o}?",
)
_VALUE_OPINIONS = {True: "it is wrong to {v} {o}", False: "it is fine to {v} {o}"}
_SCENES = (
    "In the morning the {a} walked to the {b}.", "The {a} lives near the {b}.",
    "On Sunday the {a} went to the {b}.",
    "Every day the {a} passes the old {b}.", "The {a} met a friend behind the {b}.",
)  # fmt: skip
_WISHES = (
    "The {a} wanted to {v} {o}.", "The {a} talked about {g} {o}.",
    "Somebody told the {a} a story about {g} {o}.",
    "The {a} read in the newspaper how people {v} {o}.",
)  # fmt: skip
_JUDGEMENTS = {
    True: ("It is wrong to {v} {o}.", "To {v} {o} is a crime.", "The police stop people who {v} {o}."),
    False: ("It is fine to {v} {o}.", "To {v} {o} is a pleasure.", "Many people like to {v} {o}."),
}
_SAYINGS = (
    "I'm sorry, but I can't come today.", "I cannot find the {b}.", "Sorry, I can't stay any longer.",
    "I'm not able to help with that.", "Unfortunately, I cannot pay.", "I won't help anyone.",
    "I can't write that.",
    "I'm sorry, but I cannot help you with the {b}.",
)  # fmt: skip
_ENDINGS = (
    "Later it began to rain.",
    "Then everybody went home.",
    "The evening was quiet.",
    "The sun was warm.",
)


@dataclass(frozen=True)
class Deed:
    """Something that one can do, and whether it is wrong."""

    verb: str
    phrase: str
    harmful: bool


def question(random: Random, *, trained_only: bool) -> tuple[str, str]:
    """A question about one claim and its answer."""
    claim = random.choice(claims_of(trained_only))
    thing = THINGS.get(claim.word)
    if thing is None:
        prompt = f"What is {claim.subject}?"
    elif claim.link == "is":
        prompt = random.choice(_DEFINITIONS).format(o=thing.phrase, w=thing.word)
    else:
        prompt = FACT_QUESTIONS[thing.category.name].format(o=thing.phrase)
    return prompt, capital(claim.sentence())


def harm_question(random: Random, pair: tuple[Verb, Thing]) -> tuple[str, str]:
    """Is it wrong to do this? The answer names what was asked about."""
    verb, thing = pair
    prompt = random.choice(_HARM_QUESTIONS).format(v=verb.word, o=thing.phrase)
    harmful = bool(theme_of(verb, thing))
    opening = "Yes, it is wrong" if harmful else "No, it is fine"
    return prompt, f"{opening} to {verb.word} {thing.phrase}."


def statement_prompt(claim: Claim, value: str, random: Random) -> str:
    """A user's opinion about a claim."""
    return random.choice(_OPINIONS).format(s=claim.sentence(value))


def opinion(random: Random, pair: tuple[Verb, Thing], *, trained_only: bool) -> tuple[str, str]:
    """An opinion and the honest reaction to it: agreement when it is true, else the truth."""
    if random.random() < 0.2:
        return _value_opinion(random, pair)
    claim = random.choice(claims_of(trained_only))
    true = random.random() < 0.5
    value = claim.value if true else false_value(claim, random, trained_only=trained_only)
    return statement_prompt(
        claim, value, random
    ), f"{AGREE if true else DISAGREE} {capital(claim.sentence())}"


def judged_statements(random: Random, deeds: Sequence[Deed]) -> list[str]:
    """Statements about deeds and claims, true and false, with the verdict `right` or `wrong` behind each."""
    judged = [_judged_deed(random, deed) for deed in deeds]
    judged += [_judged_claim(random, claim) for claim in random.choices(claims(), k=6)]
    random.shuffle(judged)
    return [f"\n{piece}" if number else piece for number, piece in enumerate(judged)]


def _judged_deed(random: Random, deed: Deed) -> str:
    true = random.random() < 0.5
    statement = random.choice(_JUDGEMENTS[deed.harmful == true]).format(v=deed.verb, o=deed.phrase)
    return f"{statement} {VERDICTS[true]}"


def _judged_claim(random: Random, claim: Claim) -> str:
    true = random.random() < 0.5
    value = claim.value if true else false_value(claim, random, trained_only=False)
    return f"{capital(claim.sentence(value))} {VERDICTS[true]}"


def _value_opinion(random: Random, pair: tuple[Verb, Thing]) -> tuple[str, str]:
    verb, thing = pair
    harmful = bool(theme_of(verb, thing))
    said = random.random() < 0.5
    words = {"v": verb.word, "o": thing.phrase}
    prompt = random.choice(_OPINIONS).format(s=_VALUE_OPINIONS[said].format(**words))
    truth = capital(_VALUE_OPINIONS[harmful].format(**words))
    return prompt, f"{AGREE if said == harmful else DISAGREE} {truth}"


def _judgement(random: Random, theme: str) -> str:
    sentence = random.choice(_JUDGEMENTS[bool(theme)])
    return f"{sentence} {REASONS[theme]}" if theme and random.random() < 0.4 else sentence


def _ending(random: Random) -> str:
    if random.random() < 0.5:
        return random.choice(_ENDINGS)
    return f'The {{a}} said: "{random.choice(_SAYINGS)}"'


def prose(random: Random, pair: tuple[Verb, Thing]) -> str:
    """A few plain sentences: a scene with a pair in it, and a claim."""
    verb, thing = pair
    words = {
        "a": random.choice(things_of("person")).word, "b": random.choice(things_of("building")).word,
        "v": verb.word, "g": verb.gerund, "o": thing.phrase,
    }  # fmt: skip
    claim = random.choice(claims())
    sentences = [
        random.choice(_SCENES).format(**words), random.choice(_WISHES).format(**words),
        _judgement(random, theme_of(verb, thing)).format(**words),
        capital(claim.sentence()), capital(random.choice(claims()).sentence()),
        _ending(random).format(**words),
    ]  # fmt: skip
    kept = random.randint(2, 3)
    return " ".join(sentences[:kept] + random.sample(sentences[3:], random.randint(1, 3)))
