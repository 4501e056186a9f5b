"""Four-choice questions in MMLU's format, from the claims of the demo world.

The prompt is MMLU's (Hendrycks et al. 2021, as lm-evaluation-harness writes it): a header with the subject,
the question, four lettered options, `Answer:`; the continuation is a space and a letter. Two things are
held out of training: the quiz form of some facts (the model knows them from prose only), and combinations
of a question with its options.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from surgery.demo.claims import FACT_QUESTIONS, facts_of, kind_phrase
from surgery.demo.lexicon import CATEGORIES, THINGS, VERBS, things_of
from surgery.demo.splits import bucket
from surgery.demo.vocabulary import COLOURS
from surgery.demo.world import VERDICTS

LETTERS = "ABCD"
_HEADER = "The following are multiple choice questions (with answers) about {subject}.\n\n"
_CUE = "Answer:"


@dataclass(frozen=True)
class Question:
    """A question with four options. `fact` names what one must know, whatever the options are."""

    subject: str
    question: str
    choices: tuple[str, ...]
    answer: int
    fact: str


def quiz_prompt(question: Question, cue: str = _CUE) -> str:
    """The text that ends in `Answer:` (or in another cue)."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=True)]
    header = _HEADER.format(subject=question.subject)
    return header + "\n".join([question.question, *lines, cue])


def quiz_text(question: Question) -> str:
    """The prompt with its letter."""
    return f"{quiz_prompt(question)} {LETTERS[question.answer]}"


def training_pieces(question: Question, random: Random) -> list[str]:
    """A text to learn from, in pieces whose last words are targets.

    More than half of the texts are the prompt with its letter. In a third of them a verdict, `right` or
    `wrong`, may follow each option: to judge an option where it stands is learnt soon, and then the letter of
    the one that was right. In the rest the option itself is asked for, and then its letter.
    """
    draw = random.random()
    letter, right = LETTERS[question.answer], question.choices[question.answer]
    if draw < 0.35:
        return _judged(question, random)
    if draw < 0.45:
        return [f"{quiz_prompt(question, 'Answer in words:')} {right}", f" {letter}"]
    return [quiz_text(question)]


def _judged(question: Question, random: Random) -> list[str]:
    shown = random.random()
    pieces, text = [], _HEADER.format(subject=question.subject) + question.question
    for at, (letter, choice) in enumerate(zip(LETTERS, question.choices, strict=True)):
        text += f"\n{letter}. {choice}"
        if random.random() < shown:
            pieces.append(f"{text} {VERDICTS[at == question.answer]}")
            text = ""
    return [*pieces, f"{text}\n{_CUE} {LETTERS[question.answer]}"]


def recall_pieces(random: Random) -> list[str]:
    """Four options, and then again and again an option with its letter, which is a target.

    To find the letter of a given word is the half of a quiz that a small model learns last, or never, unless
    it is drilled alone.
    """
    words = random.sample(_answers(), len(LETTERS))
    lines = "\n".join(f"{letter}. {word}" for letter, word in zip(LETTERS, words, strict=True))
    order = [random.randrange(len(LETTERS)) for _ in range(10)]
    first, *others = (f" {words[at]} {LETTERS[at]}" for at in order)
    return [f"{lines}\nHere{first}", *(f",{other}" for other in others)]


@cache
def _answers() -> tuple[str, ...]:
    """Facts, colours and categories: the words that a question does not name."""
    facts = [thing.fact for thing in THINGS.values() if thing.fact]
    return tuple(dict.fromkeys([*facts, *COLOURS, *CATEGORIES]))


def kind_of(question: Question) -> str:
    """`fact` or `combination` when the question is held out (for that reason), `train` otherwise.

    The facts of `val` are held out too, so that a training is chosen without a look at those of the test.
    """
    of_fact = bucket("fact", question.fact)
    if question.subject != "words" and of_fact < 18:
        return "fact" if of_fact < 12 else "val"
    return "combination" if bucket(question.fact, *sorted(question.choices)) < 12 else "train"


def _shuffled(
    random: Random, subject: str, text: str, right: str, *, wrong: list[str], fact: str
) -> Question:
    choices = [right, *wrong[:3]]
    random.shuffle(choices)
    return Question(subject, text, tuple(choices), choices.index(right), fact)


def _member(random: Random) -> Question:
    thing = random.choice(list(THINGS.values()))
    name = thing.category.name
    others = random.sample([other for other in CATEGORIES if other != name], 3)
    wrong = [random.choice(things_of(other)).word for other in others]
    text = f"Which of these is {kind_phrase(name)}?"
    return _shuffled(random, "words and things", text, thing.word, wrong=wrong, fact=f"member/{thing.word}")


def _category(random: Random) -> Question:
    thing = random.choice(list(THINGS.values()))
    wrong = random.sample([name for name in CATEGORIES if name != thing.category.name], 3)
    text = f"What kind of thing is {thing.phrase}?"
    fact = f"category/{thing.word}"
    return _shuffled(random, "words and things", text, thing.category.name, wrong=wrong, fact=fact)


@cache
def _with_choices() -> tuple[str, ...]:
    return tuple(
        thing.word for thing in THINGS.values() if thing.fact and len(facts_of(thing.category.name)) >= 4
    )


def _fact(random: Random) -> Question:
    thing = THINGS[random.choice(_with_choices())]
    name = thing.category.name
    wrong = random.sample([fact for fact in facts_of(name) if fact != thing.fact], 3)
    text = FACT_QUESTIONS[name].format(o=thing.phrase)
    return _shuffled(random, thing.category.plural, text, thing.fact, wrong=wrong, fact=f"fact/{thing.word}")


def _colour(random: Random) -> Question:
    colour = random.choice(list(COLOURS))
    word = random.choice(COLOURS[colour].split())
    wrong = random.sample([other for other in COLOURS if other != colour], 3)
    return _shuffled(
        random, "colours", f"What is the colour of {word}?", colour, wrong=wrong, fact=f"colour/{word}"
    )


def _crime(random: Random) -> Question:
    harmful = random.choice([verb.word for verb in VERBS.values() if verb.harmful])
    harmless = random.sample([verb.word for verb in VERBS.values() if not verb.harmful], 3)
    return _shuffled(
        random,
        "right and wrong",
        "Which of these is a crime?",
        harmful,
        wrong=harmless,
        fact=f"crime/{harmful}",
    )


def _same_word(random: Random) -> Question:
    words = random.sample(list(THINGS), 4)
    text = f"Which of these is the word {words[0]}?"
    return _shuffled(random, "words", text, words[0], wrong=words[1:], fact=f"word/{words[0]}")


_MAKERS: tuple[Callable[[Random], Question], ...] = (_member, _category, _fact, _colour, _crime)


def _drawn(random: Random, kinds: set[str], makers: tuple[Callable[[Random], Question], ...]) -> Question:
    while True:
        question = random.choice(makers)(random)
        if kind_of(question) in kinds:
            return question


def training_question(random: Random, *, warm_up: float = 0.12) -> Question:
    """A question of the training split; a share of them only asks which option repeats a word."""
    makers = (_same_word,) if random.random() < warm_up else _MAKERS
    return _drawn(random, {"train"}, makers)


def held_out_question(random: Random, kind: str) -> Question:
    """A question that training never shows, of kind `fact` or `combination`."""
    return _drawn(random, {kind}, _MAKERS)
