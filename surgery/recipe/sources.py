"""Names in a recipe that stand for something outside it: models, prompt sets, dictionaries, direction files.

Where a name is looked for: `demo:` inside this package; a prompt set and a direction file relative to the
recipe's folder; a model and a dictionary, as the output folder, relative to the working directory; else on
the Hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Literal

from surgery.errors import SourceError
from surgery.recipe.document import Path
from surgery.recipe.finding import FindFile, FindWeightDifference, Reconstruct
from surgery.recipe.schema import ModelSource
from surgery.recipe.section import PromptSource, Section
from surgery.recipe.shape import root_shape, walk
from surgery.recipe.suggestions import clean, did_you_mean, quoted

Room = Literal["model", "prompts", "dictionaries", "directions", "checkpoints"]

_KEYS: dict[type[Section], tuple[Room, tuple[str, ...]]] = {
    ModelSource: ("model", ("source",)),
    PromptSource: ("prompts", ("source",)),
    Reconstruct: ("dictionaries", ("dictionary",)),
    FindFile: ("directions", ("path",)),
    FindWeightDifference: ("checkpoints", ("base", "edited")),
}


@dataclass(frozen=True)
class Source:
    """One such name."""

    room: Room
    path: Path
    """Where the name stands in the recipe."""
    name: str
    file: str | None
    """File inside a Hub dataset, or what of a dictionary's source is meant."""

    @property
    def is_demo(self) -> bool:
        return self.name.startswith("demo:") and self.room != "directions"

    @property
    def is_beside_recipe(self) -> bool:
        """Whether the name is a path relative to the recipe's folder."""
        return self.room == "directions" or (
            self.room == "prompts" and not self.is_demo and self.file is None
        )

    @property
    def is_folder(self) -> bool:
        """Whether the name can only be a folder: it is written as a path, and no Hub id looks like it."""
        is_path = self.name.startswith(("./", "../", "/", "~")) or self.name.count("/") > 1
        return self.room in ("model", "dictionaries", "checkpoints") and not self.is_demo and is_path

    @property
    def resolved_key(self) -> str:
        """The name under which a lock file lists it."""
        return f"{self.name}/{self.file.strip('/')}" if self.file else self.name


def find_sources(value: Any) -> Iterator[Source]:
    """Every source that a recipe, as plain data, names; what is not even text is passed over."""
    for path, shape, section in walk(root_shape(), value):
        room, keys = _KEYS.get(shape.section or Section, (None, ()))
        if room is None:
            continue
        if isinstance(section, dict):
            file = section.get({"prompts": "file", "dictionaries": "path"}.get(room, ""))
            names = [((*path, key), section.get(key)) for key in keys]
        else:
            is_bare = shape.section is not None and shape.section.shorthand in keys
            file, names = None, [(path, section)] if is_bare else []
        for place, name in names:
            if isinstance(name, str) and name:
                yield Source(room, place, name, file if isinstance(file, str) else None)


def at_home(name: str) -> FilePath:
    """The path that a name means, its `~` followed; that of a user who is not known here stays as it is."""
    try:
        return FilePath(name).expanduser()
    except RuntimeError:
        return FilePath(name)


def what_is_missing(source: Source, folder: FilePath) -> str | None:
    """What is wrong with a source, as far as can be told offline; `folder` is the recipe's."""
    if source.is_demo:
        return _missing_demo(source)
    if source.is_beside_recipe:
        said = _missing_path(source.name, folder, want_folder=False)
        hub = said and source.room == "prompts" and source.name.count("/") == 1 and "." not in source.name
        return f"{said}; if it is a Hub dataset, name its 'file' too" if hub else said
    if source.is_folder:
        or_file = source.room != "model"
        return _missing_path(source.name, FilePath(), want_folder=True, or_file=or_file)
    return None


def _missing_demo(source: Source) -> str | None:
    from surgery.demo import sources

    find = {
        "model": sources.model_folder,
        "checkpoints": sources.model_folder,
        "dictionaries": sources.dictionary_folder,
        "prompts": sources.prompt_file,
    }
    try:
        find[source.room](source.name)
    except SourceError as error:
        return str(error)
    return None


def _missing_path(name: str, folder: FilePath, *, want_folder: bool, or_file: bool = False) -> str | None:
    wanted = folder / at_home(name)
    kinds = ("file", "folder") if want_folder else ("folder", "file")
    try:
        if (want_folder and wanted.is_dir()) or ((or_file or not want_folder) and wanted.is_file()):
            return None
        if wanted.exists():
            return f"{quoted(name)} is a {kinds[0]}, and a {kinds[1]} is wanted here"
    except OSError as error:
        return f"{quoted(name)} cannot be looked up: {error.strerror}"
    where = "the working directory" if folder == FilePath() else clean(str(folder))
    hint = did_you_mean_file(wanted)
    return f"there is no {kinds[1]} {quoted(name)} in {where}{hint}"


def did_you_mean_file(wanted: FilePath) -> str:
    """The hint at a neighbour in the same folder, or nothing; a shared suffix alone is no likeness."""
    try:
        names = sorted(each.name for each in wanted.parent.iterdir())
    except OSError:
        return ""
    return did_you_mean(wanted.name, names, likeness=0.75)
