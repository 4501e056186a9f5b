"""A document against the schema: the recipe, or every problem in plain words.

A misspelt key hides all that stands below it from the schema. So the faults whose cure is clear are reported
and cured in a copy, a misspelt word by its nearest neighbour, and the copy is read again, until nothing more
can be cured. What is then left is reported too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

from pydantic import ValidationError

from surgery.errors import Problem
from surgery.recipe.document import Document, Path, removed, renamed, replaced
from surgery.recipe.section import Misfit, Section
from surgery.recipe.sentences import describe, expected, found
from surgery.recipe.shape import Shape, inside, member_for, root_shape
from surgery.recipe.suggestions import listed, nearest, quoted

_MAX_ROUNDS = 16
_MAX_CURES = 100
Schema = TypeVar("Schema", bound=Section)


@dataclass(frozen=True)
class Cure:
    """What makes the reading go on: the word at `path` (a key, or a value) becomes `word`, or is dropped."""

    path: Path
    word: str | None
    is_key: bool = True


@dataclass(frozen=True)
class Fault:
    """A problem, and its cure where there is one."""

    problem: Problem
    cure: Cure | None = None


@dataclass(frozen=True)
class Spot:
    """A place in the document that an error of the schema library speaks of."""

    path: Path
    shape: Shape
    union: Shape | None = None
    """The tagged union that `shape` is a member of."""
    at_key: bool = False


def validate(document: Document, schema: type[Schema]) -> tuple[Schema | None, Document, list[Problem]]:
    """Read a document as `schema` says: as a recipe, or as another program's config.

    Returns what was read (None if there is any problem), the document with its clear faults cured, the
    problems.
    """
    problems: list[Problem] = []
    for _ in range(_MAX_ROUNDS):
        try:
            read = schema.model_validate(document.value)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            known = (_fault(document, dict(each), root_shape(schema)) for each in details)
            faults = [fault for fault in known if fault is not None]
        else:
            return (None if problems else read), document, problems
        cures = [fault.cure for fault in faults if fault.cure]
        cures = cures if len(cures) <= _MAX_CURES else []  # a file of noise is not worth the work
        problems += [fault.problem for fault in faults if fault.cure or not cures]
        if not cures:
            break
        document = reduce(_cured, cures, document)
    return None, document, list(dict.fromkeys(problems))


def locate(document: Document, where: tuple[str | int, ...], root: Shape) -> Spot:
    """Follow an error's location, without the names of union members and of shorthands that it contains."""
    spot = Spot((), root)
    for part in where:
        shape, value = spot.shape, document.at(spot.path)
        if part == "[key]" and shape.kind != "mapping":
            return Spot(spot.path, shape, at_key=True)
        if shape.kind == "tagged":
            member = next((each for each in shape.members if each.tag == part), shape)
            spot = Spot(spot.path, member, union=shape)
        elif shape.kind == "either":
            spot = Spot(spot.path, member_for(shape, value))
        elif shape.section and part == shape.section.shorthand and not isinstance(value, dict):
            spot = Spot(spot.path, inside(shape, value))
        else:
            below = shape.items or shape.keys().get(str(part)) or Shape("any")
            spot = Spot((*spot.path, part), below)
    return spot


def _fault(document: Document, error: dict[str, Any], root: Shape) -> Fault | None:
    kind, where = error["type"], error["loc"]
    if kind == "extra_forbidden":
        return _unknown_key(document, locate(document, where[:-1], root), str(where[-1]))
    if kind == "missing":
        return _missing_key(document, locate(document, where[:-1], root), str(where[-1]))
    spot = locate(document, where, root)
    value = document.at(spot.path)
    if spot.at_key:
        said = f"{quoted(str(spot.path[-1]))} cannot be a name; use letters, digits, _ and -"
        return Fault(document.problem(spot.path, said, at_key=True))
    if kind.startswith("union_tag") and isinstance(value, dict):
        return _untagged(document, spot, value)
    if kind == "value_error":
        reason = error["ctx"]["error"]
        path = (*spot.path, *reason.path) if isinstance(reason, Misfit) else spot.path
        return Fault(document.problem(path, str(reason), at_key=True))
    if spot.shape.kind == "list" and isinstance(value, list) and len(value) >= spot.shape.minimum_length:
        return None  # the list is well; the complaint is that of the other alternative of a union
    if kind == "list_type" and spot.shape.kind == "section" and isinstance(value, dict):
        return None  # likewise, the list being that other one
    return Fault(document.problem(spot.path, expected(spot.shape, value, document.place(spot.path))))


def _unknown_key(document: Document, spot: Spot, key: str) -> Fault:
    path, siblings, allowed = (*spot.path, key), document.at(spot.path), spot.shape.keys()
    if spot.union and key in set(spot.union.keys()):
        said = f"cannot stand beside {quoted(_tag_in(spot.union, siblings))}"
        return Fault(document.problem(path, said, at_key=True), Cure(path, None))
    meant = nearest(key, [each for each in allowed if each not in siblings]) or nearest(key, allowed)
    hint = f"did you mean '{meant}'?" if meant else f"allowed here: {listed(allowed)}"
    return Fault(document.problem(path, f"unknown key; {hint}", at_key=True), Cure(path, meant))


def _tag_in(union: Shape, value: dict[str, Any]) -> str:
    """The word that made `value` a member of `union`: `file`, or `ablate`."""
    key = next(each for each in union.tag_keys() if each in value)
    return str(value[key]) if isinstance(union.discriminator, str) else key


def _missing_key(document: Document, spot: Spot, key: str) -> Fault:
    wanted = describe(spot.shape.keys()[key])
    return Fault(document.problem(spot.path, f"missing key '{key}' ({wanted})", at_key=True))


def _untagged(document: Document, spot: Spot, value: dict[str, Any]) -> Fault:
    """A member of a union that cannot be told: its key is missing, misspelt, or has an unknown value."""
    union, keys = spot.shape, spot.shape.tag_keys()
    if isinstance(union.discriminator, str) and union.discriminator in value:
        return _unknown_tag(document, (*spot.path, union.discriminator), union)
    known = set(union.keys())
    guesses = [(key, meant) for key in value if key not in known and (meant := nearest(key, keys))]
    if guesses:
        key, meant = guesses[0]
        problem = document.problem((*spot.path, key), f"unknown key; did you mean '{meant}'?", at_key=True)
        return Fault(problem, Cure((*spot.path, key), meant))
    wanted = " or ".join(quoted(key) for key in keys)
    choices = f" ({_one_tag(union)})" if isinstance(union.discriminator, str) else ""
    has = f"it has only {listed(value)}" if value else "it is empty"
    return Fault(document.problem(spot.path, f"missing key {wanted}{choices}; {has}", at_key=True))


def _unknown_tag(document: Document, path: Path, union: Shape) -> Fault:
    value = document.at(path)
    meant = nearest(value, union.tags()) if isinstance(value, str) else None
    hint = f"; did you mean '{meant}'?" if meant else ""
    said = f"expected {_one_tag(union)}; found {found(value, document.place(path))}{hint}"
    return Fault(document.problem(path, said), Cure(path, meant, is_key=False) if meant else None)


def _one_tag(union: Shape) -> str:
    return f"one of {listed(union.tags())}"


def _cured(document: Document, cure: Cure) -> Document:
    if not cure.is_key:
        return replaced(document, cure.path, cure.word, {(): document.place(cure.path)})
    if cure.word is None or cure.word in document.at(cure.path[:-1]):
        return removed(document, cure.path)
    return renamed(document, cure.path, cure.word)
