"""Text that a model, a prompt set or a recipe wrote, made harmless where it is shown.

Control characters, invisible ones and those that turn the reading direction appear as their code points; in
Markdown a foreign text stands as code, behind a fence that is longer than any in it.
"""

from __future__ import annotations

import re
import unicodedata

_JOINER = "\u200d"
"""Holds emoji of several people together; hides nothing."""


def visible(text: str) -> str:
    """The text with each character that hides, turns or controls text as `⟨U+202E⟩`; line ends, tabs stay."""
    return "".join(_shown(character) for character in text)


def one_line(text: str) -> str:
    """The text on one line, its white space drawn together, made visible."""
    return visible(" ".join(text.split()))


def shortened(text: str, width: int) -> str:
    """At most `width` characters, the last of them … where something was cut."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)].rstrip()}…"


def code(text: str) -> str:
    """A text as Markdown code on one line, whatever it holds."""
    line = one_line(text)
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if not line or line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fenced(text: str, language: str = "") -> str:
    """A text as a Markdown block of code whose fence is longer than any in the text."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{visible(text.rstrip())}\n{fence}"


def inline(text: str) -> str:
    """A text as plain words of a Markdown paragraph: nothing in it is markup."""
    return re.sub(r"([\\`|<>\[\]!*#&])", r"\\\1", one_line(text))


def _shown(character: str) -> str:
    # Cc and Cf hold terminal codes, zero-width characters and the marks that turn the reading direction; Cs
    # is half a pair.
    if (
        character in "\n\t"
        or character == _JOINER
        or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
    ):
        return character
    return f"⟨U+{ord(character):04X}⟩"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
