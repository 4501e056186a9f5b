"""What types cannot say: that every name in a recipe stands for something, and that its parts go together.

Works on plain data, so that these problems are found beside a wrong type and not after it is mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from surgery.errors import Problem
from surgery.hook_point import SITES, from_text
from surgery.recipe.document import Document, Path
from surgery.recipe.editing import Ablate, Add
from surgery.recipe.finding import DictionaryFacts, FindDifferenceOfMeans
from surgery.recipe.shape import root_shape, walk
from surgery.recipe.sources import find_sources, what_is_missing
from surgery.recipe.suggestions import listed, nearest, quoted


def check_references(document: Document, folder: FilePath | None) -> list[Problem]:
    """Every name that stands for nothing and every impossible combination; paths are relative to `folder`,
    and with None they are not looked for."""
    if not isinstance(document.value, dict):
        return []
    sources = () if folder is None else _sources(document, folder)
    return [
        *_directions(document), *_contrasts(document), *_forms(document), *_hook_points(document), *sources
    ]  # fmt: skip


def _sections(document: Document, *kinds: type) -> Iterator[tuple[Path, Any]]:
    """Every place whose section is one of `kinds`, with its plain value."""
    for path, shape, value in walk(root_shape(), document.value):
        if shape.section in kinds:
            yield path, value


def _steps(document: Document) -> Iterator[tuple[Path, str]]:
    """Every direction that a step names, with the place of the name."""
    for path, value in _sections(document, Ablate, Add):
        key = "ablate" if "ablate" in value else "add"
        if isinstance(value[key], str):
            yield (*path, key), value[key]


def _directions(document: Document) -> Iterator[Problem]:
    known = document.value.get("direction")
    known = known if isinstance(known, dict) else {}
    used: set[str | None] = set()
    for path, name in _steps(document):
        if name not in known and name:
            said = f"no direction named {quoted(name)}; this recipe has: {listed(known)}"
            yield document.problem(path, said)
        used.add(name if name in known else nearest(name, known))
    for name in known if _every_step_is_read(document) else ():
        if name not in used:
            said = "no step of 'edit' uses this direction; use it, or take it out"
            yield document.problem(("direction", name), said, at_key=True)


def _every_step_is_read(document: Document) -> bool:
    """Whether each step names a direction; if one does not, nothing can be called unused."""
    edit = document.value.get("edit")
    steps = edit.get("steps") if isinstance(edit, dict) else edit
    return isinstance(steps, list) and bool(steps) and len(list(_steps(document))) == len(steps)


def _contrasts(document: Document) -> Iterator[Problem]:
    for path, value in _sections(document, FindDifferenceOfMeans):
        if value.get("positive") and value["positive"] == value.get("negative"):
            yield document.problem((*path, "negative"), "the same prompts as 'positive'; name other ones")


def _forms(document: Document) -> Iterator[Problem]:
    output = document.value.get("output")
    form = output.get("form", "checkpoint") if isinstance(output, dict) else None
    if form == "checkpoint":
        for path, _ in _sections(document, Add):
            said = (
                "an addition cannot be written into every family's weights; write 'form: peft' under output"
            )
            yield document.problem((*path, "add"), said, at_key=True)
    if form == "peft" and document.at(("edit", "keep")) == "column_norms":
        said = "columns that keep their length change by no low rank, so no adapter holds them; leave it out"
        yield document.problem(("edit", "keep"), said)


def _hook_points(document: Document) -> Iterator[Problem]:
    for path, value in _sections(document, DictionaryFacts):
        for key in ("hook_point", "output_point"):
            said = value.get(key)
            if isinstance(said, str) and said and from_text(said) is None:
                wanted = f"expected a hook point such as 'resid_post.20', found {quoted(said)}"
                yield document.problem((*path, key), f"{wanted}; its sites are {listed(SITES)}")


def _sources(document: Document, folder: FilePath) -> Iterator[Problem]:
    for source in find_sources(document.value):
        said = what_is_missing(source, folder)
        if said:
            yield document.problem(source.path, said)
