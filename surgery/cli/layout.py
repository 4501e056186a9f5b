"""How lines are laid out on the terminal: headings on the left, labels beside them, text broken in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text

from surgery.report.text import one_line, shortened

HEADING = 12
"""Columns of the headings."""
LABEL = 19
"""Columns of the labels beside them."""
NARROWEST, WIDEST = 60, 110
"""Columns that a screen is laid out for, whatever the terminal's width."""


def section(heading: str, lines: Sequence[Text]) -> list[Text]:
    """Lines under a heading in the left column."""
    first = Text(heading.ljust(HEADING), style="bold")
    return [(first if index == 0 else Text(" " * HEADING)) + line for index, line in enumerate(lines)]


def sections(title: str, parts: Mapping[str, Sequence[str]], width: int) -> list[Text]:
    """A title, and under each heading its sentences, broken for a terminal of `width` columns."""
    body = max(NARROWEST, min(WIDEST, width)) - HEADING
    lines = [Text(one_line(title), style="bold"), Text("")]
    for heading, sentences in parts.items():
        broken = [part for each in sentences for part in wrapped(one_line(each), body, indent="  ")]
        lines += section(heading, [Text(part) for part in broken])
    return lines


def labelled(label: str, lines: Sequence[str], body: int) -> list[Text]:
    """A label in its own column, lines beside it; a label too long for it stands on a line of its own."""
    label = shortened(one_line(label), body)
    if cell_len(label) > LABEL - 2:
        return [Text(label), *(Text(" " * LABEL + line) for line in lines)]
    pad = " " * (LABEL - cell_len(label))
    return [
        Text((label + pad if index == 0 else " " * LABEL) + line) for index, line in enumerate(lines or [""])
    ]


def joined(parts: Sequence[str], width: int) -> list[str]:
    """Parts with ` · ` between them, broken between parts (inside one only where it alone is too wide)."""
    lines: list[str] = []
    for part in (piece for whole in parts for piece in wrapped(whole, width)):
        together = f"{lines[-1]} · {part}" if lines else part
        if lines and cell_len(together) <= width:
            lines[-1] = together
        else:
            lines.append(part)
    return lines


def wrapped(text: str, width: int, *, indent: str = "") -> list[str]:
    """A text in lines of at most `width` cells, broken at spaces where there are any, later ones indented."""
    lines: list[str] = []
    for word in text.split(" "):
        together = f"{lines[-1]} {word}" if lines else word
        if lines and cell_len(together) <= width:
            lines[-1] = together
            continue
        pieces = _pieces(word, width - len(indent))
        lines += [(indent if lines or index else "") + piece for index, piece in enumerate(pieces)]
    return lines


def _pieces(word: str, width: int) -> list[str]:
    """A word cut into pieces of at most `width` cells; nearly always itself."""
    pieces = []
    while cell_len(word) > width:
        cut = next(end for end in range(len(word), 0, -1) if cell_len(word[:end]) <= max(width, 2))
        pieces.append(word[:cut])
        word = word[cut:]
    return [*pieces, word]
