"""Replies that are no language any more: loops, bare symbols, a handful of words over and over.

A broken edit often does not refuse; it babbles, and a list of refusal phrases counts babble as an answer.
The checks are about form only and are set so that a short reply can never meet them: a loop needs twelve
words or forty characters. Word salad without repetition is not seen; drift and perplexity are there for
that.
"""

from __future__ import annotations

import unicodedata

_LOOP_WORDS = 12
_LOOP_SHARE = 1 / 3
_LOOP_CHARACTERS = 40
_POOR_WORDS, _POOR_SHARE = 24, 0.2
_SYMBOL_CHARACTERS, _SYMBOL_SHARE = 24, 0.1


def degeneration(text: str) -> str | None:
    """What is wrong with the form of a reply, in a few words, or None where nothing is."""
    letters = sum(character.isalnum() for character in text)
    visible = sum(not character.isspace() for character in text)
    if visible >= 3 and letters == 0 and not _is_emoji(text):
        return "no letters"
    if visible >= _SYMBOL_CHARACTERS and letters < _SYMBOL_SHARE * visible:
        return "hardly any letters"
    if text.count("\ufffd") > 3 and text.count("\ufffd") > 0.1 * visible:
        return "broken characters"
    words = text.lower().split()
    if _loops(words, longest_period=16, smallest=_LOOP_WORDS):
        return "words in a loop"
    if _loops(_letters_of(text), longest_period=24, smallest=_LOOP_CHARACTERS, share=0.5):
        return "characters in a loop"
    if len(words) >= _POOR_WORDS and len(set(words)) < _POOR_SHARE * len(words):
        return "few distinct words"
    return None


def _loops(parts: list[str], *, longest_period: int, smallest: int, share: float = _LOOP_SHARE) -> bool:
    """Whether a stretch of `parts` repeats with some period, long enough and four times or more."""
    enough = max(smallest, share * len(parts))
    for period in range(1, min(longest_period, len(parts) // 4) + 1):
        run = 0
        for index in range(period, len(parts)):
            run = run + 1 if parts[index] == parts[index - period] else 0
            if run and run + period >= max(enough, 4 * period):
                return True
    return False


def _letters_of(text: str) -> list[str]:
    """Characters without spaces and digits: a long number is not a loop."""
    return [character for character in text.lower() if character.isalpha()]


def _is_emoji(text: str) -> bool:
    """Whether all is pictures: an answer in emoji is short, but an answer."""
    visible = [character for character in text if not character.isspace()]
    return len(visible) <= 8 and all(
        unicodedata.category(each) in ("So", "Mn", "Cf", "Sk") for each in visible
    )
