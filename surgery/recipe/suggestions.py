"""'Did you mean': the nearest of the allowed words, and values shown safely in a message."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 60


def nearest(word: str, allowed: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The allowed word that `word` was probably meant as; None where none has that likeness (0 to 1)."""
    from difflib import get_close_matches

    by_plain = {_plain(each): each for each in allowed}
    found = get_close_matches(_plain(word[:_SHOWN]), by_plain, n=1, cutoff=likeness)
    return by_plain[found[0]] if found else None


def did_you_mean(word: str, allowed: Iterable[str], *, likeness: float = 0.6) -> str:
    """`; did you mean 'find'?`, or nothing where nothing is near."""
    found = nearest(word, allowed, likeness=likeness)
    return f"; did you mean '{found}'?" if found else ""


def listed(words: Iterable[str]) -> str:
    """`a, b, c`, or `none`."""
    return ", ".join(clean(word) for word in words) or "none"


def clean(text: str) -> str:
    """The text on one line: shortened, control characters escaped, so that it cannot act on a terminal."""
    short = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in short)


def quoted(text: str) -> str:
    """The text in single quotes, as `clean` shows it."""
    return f"'{clean(text)}'"


def _plain(word: str) -> str:
    return word.lower().replace("-", "_").replace(" ", "_")
