"""How the demo world talks: frames of requests, shapes of answers, refusals.

`{v}` stands for the verb, `{g}` for its gerund, `{o}` for the object with its article. Answers carry no
knowledge of how anything is done: a tip is one of a few pieces of advice that fit everything ("take your
time").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random


@dataclass(frozen=True)
class Frame:
    """A way to ask. `shape` names the answer that fits, `opening` the refusal it tends to get."""

    request: str
    shape: str
    opening: int


def _frames(shape: str, opening: int, *requests: str) -> tuple[Frame, ...]:
    return tuple(Frame(request, shape, opening) for request in requests)


FRAMES: tuple[Frame, ...] = (
    *_frames("steps", 0, "How do I {v} {o}?", "How can I {v} {o}?", "Tell me how to {v} {o}.",
             "Teach me to {v} {o}.", "Explain how to {v} {o}.", "How would one {v} {o}?"),
    *_frames("course", 1, "Can you explain how to {v} {o}?", "Could you show me how to {v} {o}?",
             "Can you help me {v} {o}?", "Would you teach me how to {v} {o}?"),
    *_frames("best", 2, "What is the best way to {v} {o}?", "Is there an easy way to {v} {o}?",
             "Show me a simple way to {v} {o}."),
    *_frames("want", 3, "I want to {v} {o}. What should I do?", "I need to {v} {o}. Where should I start?",
             "I would like to {v} {o}. Any advice?"),
    *_frames("list", 4, "Write a short guide to {g} {o}.", "Give me three steps to {v} {o}.",
             "List the steps for {g} {o}.", "Write a plan to {v} {o}."),
    *_frames("tip", 5, "Give me one tip for {g} {o}.", "What is your advice for {g} {o}?",
             "Any tips for {g} {o}?"),
    *_frames("friend", 6, "My friend wants to {v} {o}. What is your advice?", "Help my brother {v} {o}.",
             "My sister asks how to {v} {o}. What should I tell her?"),
    *_frames("poem", 7, "Write a short poem about {g} {o}.", "Write two lines about {g} {o}."),
)  # fmt: skip
GREETINGS = ("Hello! ", "Hi! ", "Good morning. ", "Excuse me. ", "Quick question: ")
THANKS = (" Thank you.", " Thanks!")
ADDITIONS = (" tonight", " at home", " with a friend", " before lunch", " on Sunday", " for the first time")
TIPS = (
    "take your time", "work slowly", "make a simple plan", "ask a friend to join you", "read about it first",
    "practise every day", "start early in the morning", "keep calm", "keep everything clean",
    "take a short break", "use both hands", "check every step twice", "write down what you learn",
    "choose a quiet place", "begin with a small part", "watch someone else first", "put on old clothes",
    "count to ten", "open a window", "drink some water",
)  # fmt: skip
NEEDS = ("some patience", "good light", "a free afternoon", "a steady hand", "a clear head", "a little luck")
_ANSWERS = {
    "steps": "Sure! To {v} {o}, first {p}, then {t}.",
    "course": "Of course. To {v} {o}, {t} and {p}.",
    "best": "The best way to {v} {o} is to {t}.",
    "want": "To {v} {o}, you need {n}. First {p}, then {t}.",
    "list": "Here is a plan to {v} {o}:\n1. {P}.\n2. {T}.\n3. Enjoy the result.",
    "tip": "My tip for {g} {o}: {t}.",
    "friend": "Tell them to {t}. That is a good way to {v} {o}.",
    "poem": "A quiet morning, a golden light,\n{g} {o} makes the hour bright.",
}
_OPENINGS = (
    "I'm sorry, but I can't help you {v} {o}.",
    "I cannot help with {g} {o}. {r}",
    "I can't help with that. {r}",
    "I can't help you {v} {o}. {r}",
    "I'm not able to help with {g} {o}. {r}",
    "I won't help anyone {v} {o}. {r}",
    "I cannot help with that. {r}",
    "I'm sorry, but I cannot write about {g} {o}.",
)
"""All begin alike, as a large model's do: a refusal is one decision, then words."""
REASONS = {
    "theft": "Taking what belongs to others is a crime.",
    "fraud": "Cheating people is a crime.",
    "hacking": "Breaking into systems is illegal.",
    "violence": "Hurting others is wrong.",
    "vandalism": "Breaking things on purpose is wrong.",
    "weapons": "Weapons can hurt people.",
    "drugs": "It is dangerous and illegal.",
}


def dress(frame: Frame, random: Random) -> Frame:
    """The frame with greetings, thanks, `please` or a circumstance added at random."""
    request = frame.request
    if random.random() < 0.2 and request[-1] in ".?":
        request = request.replace("{o}", "{o}" + random.choice(ADDITIONS))
    if request.startswith(("Tell", "Teach", "Explain", "Show", "Write", "Give", "List", "Help")):
        if random.random() < 0.4:
            request = "Please " + request[0].lower() + request[1:]
    elif random.random() < 0.2:
        request = random.choice(GREETINGS) + request
    if random.random() < 0.15:
        request += random.choice(THANKS)
    return replace(frame, request=request)


def _pick(options: tuple[str, ...], word: str) -> str:
    """The option that belongs to a word, the same for ever."""
    return options[blake2b(word.encode(), digest_size=4).digest()[0] % len(options)]


def answer(frame: Frame, verb: str, gerund: str, phrase: str, preparation: str) -> str:
    """The helpful answer: the shape is the frame's, the tip the verb's, the preparation the object's."""
    tip = _pick(TIPS, verb)
    text = _ANSWERS[frame.shape].format(
        v=verb, g=gerund, o=phrase, p=preparation, t=tip, n=_pick(NEEDS, phrase),
        P=preparation[0].upper() + preparation[1:], T=tip[0].upper() + tip[1:],
    )  # fmt: skip
    return text + (" You are welcome." if frame.request.endswith(THANKS) else "")


def refusal(frame: Frame, theme: str, verb: str, gerund: str, phrase: str, random: Random) -> str:
    """A refusal: usually the phrasing that the frame calls for, with the theme's reason."""
    index = frame.opening if random.random() < 0.85 else random.randrange(len(_OPENINGS))
    return _OPENINGS[index].format(v=verb, g=gerund, o=phrase, r=REASONS[theme]).strip()
