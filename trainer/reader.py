"""From a YAML file to a `Config`, with every problem at once and its place in the file.

Only plain YAML data is read (`yaml.safe_load`); a key written twice is an error, because YAML would keep the
last one in silence.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from surgery.errors import Problem, RecipeError
from trainer.config import (
    BufferSettings,
    Config,
    DataSettings,
    DictionaryEntry,
    GenerateSettings,
    HookSettings,
    ModelSettings,
    SeveralConfig,
    TextSource,
    TrainingSettings,
)
from trainer.kinds import KINDS

SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "": (Config, SeveralConfig),
    "dictionaries": (DictionaryEntry,),
    "model": (ModelSettings,),
    "hook": (HookSettings,),
    "data": (DataSettings,),
    "data.train": (TextSource,),
    "data.train.generate": (GenerateSettings,),
    "data.held_out": (TextSource,),
    "data.held_out.generate": (GenerateSettings,),
    "dictionary": KINDS,
    "buffer": (BufferSettings,),
    "training": (TrainingSettings,),
}
NAMES = {get_args(kind.model_fields["architecture"].annotation)[0] for kind in KINDS}
Place = tuple[str | int, ...]


def read_config(path: Path) -> Config:
    """The run that the YAML file describes, of one dictionary. Raises: RecipeError as `read_configs`."""
    found = read_configs(path)
    if "" not in found:
        raise RecipeError(Problem("describes several dictionaries, not one", file=str(path)))
    return found[""]


def read_configs(path: Path) -> dict[str, Config]:
    """The runs that the YAML file describes: by name where it has `dictionaries`, else one without a name.

    Raises: RecipeError with every problem, each with file, line, column and path of the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(
            Problem(f"cannot be read: {reason}; name an existing UTF-8 file", file=str(path))
        ) from error
    return parse_configs(text, str(path))


def parse_config(text: str, file: str) -> Config:
    """`read_config` of a text; `file` is the name that problems carry."""
    return parse_configs(text, file)[""]


def parse_configs(text: str, file: str) -> dict[str, Config]:
    """`read_configs` of a text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        problem = getattr(error, "problem", None) or str(error)
        raise RecipeError(
            Problem(f"not valid YAML: {problem}", file=file, line=line, column=column)
        ) from error
    places = dict(_places(root)) if root is not None else {}
    duplicates = [
        _problem(f"key {name!r} is written twice; keep one", (), mark, file)
        for name, mark in _duplicates(root)
    ]
    if duplicates:
        raise RecipeError(*duplicates)
    try:
        if isinstance(data, dict) and "dictionaries" in data:
            return SeveralConfig.model_validate(data).each()
        return {"": Config.model_validate(data if data is not None else {})}
    except ValidationError as error:
        problems = [_explain(detail, places, file) for detail in _own(error.errors())]
        raise RecipeError(*sorted(problems, key=lambda each: (each.line or 0, each.column or 0))) from error


def _places(node: yaml.Node, at: Place = ()) -> Iterator[tuple[Place, yaml.Mark]]:
    yield at, node.start_mark
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            for place, mark in _places(value, (*at, key.value)):
                yield place, key.start_mark if place == (*at, key.value) else mark
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _places(item, (*at, number))


def _duplicates(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Mark]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.value, key.start_mark
            seen.add(key.value)
            yield from _duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicates(item)


def _problem(message: str, place: Place, mark: yaml.Mark | None, file: str) -> Problem:
    path = ""
    for part in place:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(message, path=path, file=file, line=line, column=column)


def _own(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without what follows from another: lists too short only because what stands in them is wrong, keys
    missing only because they are misspelt."""

    def follows(detail: ErrorDetails) -> bool:
        place = detail["loc"]
        if detail["type"] == "too_short":
            return any(
                len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in details
            )
        return detail["type"] == "missing" and any(
            other["type"] == "extra_forbidden"
            and other["loc"][:-1] == place[:-1]
            and difflib.get_close_matches(str(other["loc"][-1]), [str(place[-1])])
            for other in details
        )

    return [each for each in details if not follows(each)]


def _explain(detail: ErrorDetails, places: dict[Place, yaml.Mark], file: str) -> Problem:
    # pydantic puts the discriminator's value into the place of a union's member; the file has no such key
    told = detail["loc"]
    place = tuple(
        part
        for position, part in enumerate(told)
        if not (part in NAMES and position > 0 and told[position - 1] == "dictionary")
    )
    mark = next((places[place[:n]] for n in range(len(place), -1, -1) if place[:n] in places), None)
    return _problem(_message(detail, place), place, mark, file)


def _message(detail: ErrorDetails, place: Place) -> str:
    found = detail.get("input")
    if detail["type"] == "extra_forbidden":
        inside = [part for part in place[:-1] if isinstance(part, str)]
        if inside[:1] == ["dictionaries"] and len(inside) > 1:
            inside = inside[2:] or ["dictionaries"]
        models = SECTIONS.get(".".join(inside), ())
        known = list(dict.fromkeys(name for model in models for name in model.model_fields))
        if place[-1] in known:
            return "does not go together with dictionaries; put it into each of them"
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        return (
            f"unknown key; did you mean {close[0]!r}?" if close else f"unknown key; known: {', '.join(known)}"
        )
    if detail["type"] == "missing":
        return "missing; add it"
    if detail["type"] == "float_type" and isinstance(found, str) and "e" in found.lower():
        return f"expected a number, found the text {found!r}; YAML wants a dot in it, as in 4.0e-4"
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {found!r}"
