"""From a YAML file to a `Config`, by the reader of recipes: every problem at once, each with its place.

Only plain data is read. `--set training.steps=200` replaces a value, or adds a key; a part in brackets is a
number in a list.
"""

from collections.abc import Sequence
from pathlib import Path

from surgery.errors import Problem
from surgery.recipe.document import Document, removed
from surgery.recipe.overrides import apply_overrides
from surgery.recipe.reader import read_text, refusal
from surgery.recipe.validation import validate
from surgery.recipe.yaml_tree import read_yaml
from trainer.config import Config, SeveralConfig


def read_configs(path: Path, overrides: Sequence[str] = ()) -> dict[str, Config]:
    """The runs that the YAML file describes: by name where it has `dictionaries`, else one without a name.
    `overrides` (`a.b[0].c=value`, the value in YAML) are applied in order.

    Raises: RecipeError with every problem, each with file, line, column and path of the key.
    """
    return parse_configs(read_text(path), str(path), overrides)


def parse_config(text: str, file: str) -> Config:
    """`parse_configs` where there is one dictionary."""
    return parse_configs(text, file)[""]


def parse_configs(text: str, file: str, overrides: Sequence[str] = ()) -> dict[str, Config]:
    """`read_configs` of a text; `file` is the name that problems carry."""
    document = read_yaml(text, file)
    several = isinstance(document.value, dict) and "dictionaries" in document.value
    document, problems = apply_overrides(document, overrides, SeveralConfig if several else Config)
    if not several:
        config, _, found = validate(document, Config)
        if config is None or problems:
            raise refusal([*problems, *found], file)
        return {"": config}
    document, alone = _without_single(document)
    configs, _, found = validate(document, SeveralConfig)
    if configs is None or problems or alone:
        raise refusal([*problems, *alone, *found], file)
    return configs.each()


def _without_single(document: Document) -> tuple[Document, list[Problem]]:
    """The document without the keys of a single dictionary, and a problem for each that was there."""
    problems = []
    for key in ("hook", "dictionary"):
        if key in document.value:
            said = "does not go together with dictionaries; put it into each of them"
            problems.append(document.problem((key,), said, at_key=True))
            document = removed(document, (key,))
    return document, problems
