"""YAML read strictly into plain values, with the line and column of every key and value.

Only data is read: mappings with text keys, lists, text, numbers, true/false, null. Tags, anchors and aliases,
several documents and duplicate keys are refused; nothing is ever constructed. Plain words follow YAML 1.2
(`1e-3` is a number, `12:30` and `2024-01-01` are text) except that 1.1's yes/no/on/off are true and false: a
word that another YAML reader would not take for text is reported where text is wanted, and never guessed.
The text is read event by event, so a hostile file is refused at the first limit that it breaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from surgery.errors import Problem, RecipeError
from surgery.recipe.document import Document, Mark, Path, Place
from surgery.recipe.suggestions import clean, quoted

MAX_DEPTH = 32
MAX_NODES = 10_000

_TRUE, _FALSE = {"true", "yes", "on"}, {"false", "no", "off"}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*|0x[0-9a-fA-F]+|0o[0-7]+)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|nan)", re.IGNORECASE)


def read_yaml(text: str, origin: str) -> Document:
    """Read one YAML document.

    Raises RecipeError with every problem up to the first after which nothing more can be read.
    """
    composer = _Composer(text, origin)
    line_break = re.search("[\x85\u2028\u2029]", text)
    if line_break:  # YAML counts these as the end of a line, and editors do not
        raise RecipeError(_unreadable(line_break.start(), text, origin))
    try:
        document = composer.document()
    except yaml.reader.ReaderError as error:
        raise RecipeError(*composer.problems, _unreadable(error.position, text, origin)) from None
    except yaml.MarkedYAMLError as error:
        raise RecipeError(*composer.problems, _malformed(error, text, origin)) from None
    except (ValueError, OverflowError):  # an escape beyond Unicode, a version of thousands of digits
        message = "not valid YAML: a character or a number out of range follows"
        raise RecipeError(*composer.problems, composer.problem(message, composer.last)) from None
    if composer.problems:
        raise RecipeError(*composer.problems)
    return document


def resolve_plain(word: str) -> Any:
    """The value of an unquoted word: null, true or false, a number, or the text itself.

    Raises ValueError, with a sentence, for a number that must not be guessed.
    """
    lower = word.lower()
    if lower in ("", "~", "null"):
        return None
    if lower in _TRUE or lower in _FALSE:
        return lower in _TRUE
    if len(word) > 64 and (_INTEGER.fullmatch(word) or _FLOAT.fullmatch(word)):
        raise ValueError(f"a number of {len(word)} characters cannot be meant; put text in quotes")
    if _INTEGER.fullmatch(word):
        return _bounded(int(word, 0))
    if re.fullmatch(r"[-+]?0[0-9_]+", word):
        raise ValueError(
            f"{quoted(word)} starts with 0, which may mean octal; drop the 0 or put it in quotes"
        )
    if _NOT_FINITE.fullmatch(word):
        return float(word.replace(".", "", 1))
    return float(word.replace("_", "")) if _FLOAT.fullmatch(word) else word


def _bounded(number: int) -> int:
    if abs(number) >= 2**63:
        raise ValueError("a whole number must lie within ±2⁶³; put text in quotes")
    return number


class _Composer:
    """Turns the parser's events into a Document; holds the position in the stream and the problems so far."""

    def __init__(self, text: str, origin: str) -> None:
        self.text, self.origin = text, origin
        self.problems: list[Problem] = []
        self.places: dict[Path, Place] = {}
        self.nodes = 0
        self.last = Mark(1, 1)

    def document(self) -> Document:
        events = iter(yaml.parse(self.text, Loader=yaml.SafeLoader))
        next(events)  # StreamStart
        if isinstance(next(events), yaml.StreamEndEvent):
            self.fail("the file is empty; write what is to be done", Mark(1, 1))
        value = self.node(next(events), events, ())
        next(events)  # DocumentEnd
        after = next(events)
        if not isinstance(after, yaml.StreamEndEvent):
            self.fail("a second document starts here; a recipe is one document", _mark(after))
        return Document(value, self.places)

    def fail(self, message: str, mark: Mark) -> None:
        """Stop at once: what follows could not be read safely."""
        raise RecipeError(*self.problems, self.problem(message, mark))

    def report(self, message: str, mark: Mark) -> None:
        """Keep the problem and go on, so that the next ones are found too."""
        self.problems.append(self.problem(message, mark))

    def problem(self, message: str, mark: Mark) -> Problem:
        return Problem(message, "", self.origin, mark.line, mark.column)

    def node(self, event: Any, events: Iterator[Any], path: Path, key: Mark | None = None) -> Any:
        mark = _mark(event)
        self.guard(event, mark, len(path))
        self.places[path] = Place(self.origin, key, mark)
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(events, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(events, path)
        value = self.scalar(event, mark)
        if event.implicit[0]:
            self.places[path] = replace(self.places[path], written=event.value)
        return value

    def guard(self, event: Any, mark: Mark, depth: int) -> None:
        self.nodes, self.last = self.nodes + 1, mark
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.fail("anchors (&) and aliases (*) are not read; write the value out, or quote it", mark)
        if event.tag is not None:
            self.fail(f"the tag {quoted(event.tag)} is not read; a recipe is plain data", mark)
        if depth > MAX_DEPTH:
            self.fail(f"nested deeper than {MAX_DEPTH} levels", mark)
        if self.nodes > MAX_NODES:
            self.fail(f"more than {MAX_NODES:,} values; this is not a recipe", mark)

    def sequence(self, events: Iterator[Any], path: Path) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            values.append(self.node(event, events, (*path, len(values))))
        return values

    def mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            mark = _mark(event)
            key = self.key(event, events, mark)
            if key in values:
                self.report(f"the key {quoted(key)} stands twice", mark)
                self.node(next(events), events, (*path, -1), mark)  # read for its own problems only
                continue
            values[key] = self.node(next(events), events, (*path, key), mark)
        return values

    def key(self, event: Any, events: Iterator[Any], mark: Mark) -> str:
        self.guard(event, mark, 0)
        if not isinstance(event, yaml.ScalarEvent):
            self.fail("a key must be text, not a list or a mapping", mark)
        value = self.scalar(event, mark)
        if not isinstance(value, str):
            said = f"YAML reads the key {quoted(event.value)} as {reading(value)}; put it in quotes"
            self.report(said, mark)
        return str(event.value)

    def scalar(self, event: Any, mark: Mark) -> Any:
        if re.search("[\x00\ud800-\udfff]", event.value):
            self.report("the text holds a character that cannot be written to a file", mark)
            return ""
        if not event.implicit[0]:
            return event.value
        try:
            return resolve_plain(event.value)
        except ValueError as error:
            self.report(str(error), mark)
            return event.value


def reading(value: Any) -> str:
    """What YAML took a plain word for, in words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "nothing" if value is None else "a number"


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _unreadable(position: int, text: str, origin: str) -> Problem:
    before = text[:position]
    mark = Mark(before.count("\n") + 1, len(before) - before.rfind("\n"))
    said = f"the character {text[position]!a} cannot stand in YAML"
    return Problem(said, "", origin, mark.line, mark.column)


_SYNTAX = {
    "found character '\\t' that cannot start any token": "a tab stands here; YAML is indented with spaces",
    "mapping values are not allowed here": "no ':' is expected here; look for wrong indentation or a quote",
}


def _malformed(error: yaml.MarkedYAMLError, text: str, origin: str) -> Problem:
    lines = text.split("\n")
    mark = error.problem_mark or error.context_mark
    line = min(mark.line, len(lines) - 1) if mark else 0
    column = min(mark.column, len(lines[line])) if mark else 0
    said = error.problem or error.context or ""
    message = _SYNTAX.get(said, f"not valid YAML: {clean(said)}")
    if error.context and error.problem and said not in _SYNTAX:
        message += f" ({clean(error.context)})"
    return Problem(message, "", origin, line + 1, column + 1)
