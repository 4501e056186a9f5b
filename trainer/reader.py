"""From a YAML file to a `Config`, with every problem at once and its place in the file.

Only plain data is read, by the reader of recipes (`surgery.recipe.yaml_tree`). `--set training.steps=200`
replaces a value, or adds a key; a part in brackets is a number in a list.
"""

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from surgery.errors import Problem, RecipeError
from surgery.recipe.document import Document, Place, path_text, replaced
from surgery.recipe.document import Path as KeyPath
from surgery.recipe.suggestions import did_you_mean, listed, nearest
from surgery.recipe.yaml_tree import read_yaml
from trainer.config import Config, SeveralConfig
from trainer.kinds import KINDS

PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
NAMES = {get_args(kind.model_fields["architecture"].annotation)[0] for kind in KINDS}


def read_configs(path: Path, overrides: Sequence[str] = ()) -> dict[str, Config]:
    """The runs that the YAML file describes: by name where it has `dictionaries`, else one without a name.
    `overrides` (`a.b[0].c=value`, the value in YAML) are applied in order.

    Raises: RecipeError with every problem, each with file, line, column and path of the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(
            Problem(f"cannot be read: {reason}; name an existing UTF-8 file", file=str(path))
        ) from error
    return parse_configs(text, str(path), overrides)


def parse_config(text: str, file: str) -> Config:
    """`parse_configs` where there is one dictionary."""
    return parse_configs(text, file)[""]


def parse_configs(text: str, file: str, overrides: Sequence[str] = ()) -> dict[str, Config]:
    """`read_configs` of a text; `file` is the name that problems carry."""
    document = reduce(_overridden, overrides, read_yaml(text, file))
    data = document.value
    try:
        if isinstance(data, dict) and "dictionaries" in data:
            return SeveralConfig.model_validate(data).each()
        return {"": Config.model_validate(data)}
    except ValidationError as error:
        problems = [_explain(detail, document) for detail in _own(error.errors())]
        raise RecipeError(*sorted(problems, key=lambda each: (each.line or 0, each.column or 0))) from error


def _overridden(document: Document, text: str) -> Document:
    name, _, value = text.partition("=")
    origin = f"--set {text}"
    path = tuple(int(number) if number else key for number, key in PART.findall(name))
    for end, part in enumerate(path):
        inside = document.at(path[:end])
        if inside is None and end:
            document = replaced(document, path[:end], {}, {(): Place(origin)})
        elif not (
            part < len(inside)
            if isinstance(inside, list) and isinstance(part, int)
            else isinstance(inside, dict) and isinstance(part, str)
        ):
            raise RecipeError(Problem(f"there is no {path_text(path[: end + 1])} to be set", file=origin))
    read = read_yaml(value, origin)
    return replaced(document, path, read.value, {each: Place(origin) for each in read.places})


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
            and nearest(str(other["loc"][-1]), [str(place[-1])])
            for other in details
        )

    return [each for each in details if not follows(each)]


def _explain(detail: ErrorDetails, document: Document) -> Problem:
    # pydantic puts the discriminator's value into the place of a union's member; the file has no such key
    told = detail["loc"]
    path = tuple(
        part
        for position, part in enumerate(told)
        if not (part in NAMES and position > 0 and told[position - 1] == "dictionary")
    )
    return document.problem(path, _message(detail, path), at_key=True)


def _message(detail: ErrorDetails, path: KeyPath) -> str:
    found = detail.get("input")
    if detail["type"] == "extra_forbidden":
        known = list(dict.fromkeys(name for model in _models_at(path[:-1]) for name in model.model_fields))
        if path[-1] in known:
            return "does not go together with dictionaries; put it into each of them"
        return f"unknown key{did_you_mean(str(path[-1]), known) or f'; known: {listed(known)}'}"
    if detail["type"] == "missing":
        return "missing; add it"
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {found!r}"


def _models_at(path: KeyPath) -> list[type[BaseModel]]:
    """The sections that may stand at a place."""
    models: list[type[BaseModel]] = [Config, SeveralConfig]
    for part in path:
        fields = [model.model_fields[str(part)] for model in models if part in model.model_fields]
        # a number in a list and the name of one of several dictionaries lead nowhere else
        models = [each for field in fields for each in _models_in(field.annotation)] or models
    return models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
