"""From the names in a recipe to a model's folder and to prompt sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from surgery.demo.sources import is_demo, model_folder, prompt_file
from surgery.hub import Snapshot, fetch_dataset_file, fetch_model
from surgery.model.prompts import PromptSet, read_prompts


def locate_model(source: str, *, revision: str | None = None) -> Snapshot:
    """The folder of `demo:refuser`, a path, or a Hub id.

    Raises:
        SourceError: there is nothing under that name.
    """
    if is_demo(source):
        return Snapshot(model_folder(source), None)
    return fetch_model(source, revision=revision)


def open_prompts(
    source: str,
    *,
    resolve: Callable[[str], Path] = Path,
    file: str | None = None,
    revision: str | None = None,
    field: str | None = None,
    count: int | None = None,
) -> PromptSet:
    """Read the prompt set that a recipe names.

    Args:
        source: `demo:` name, path, or Hub dataset id (then `file` names the file in it).
        resolve: turns a path in the recipe into one on disk.

    Raises:
        SourceError: the set is missing or malformed.
    """
    if is_demo(source):
        path = prompt_file(source)
    elif file is not None:
        path = fetch_dataset_file(source, file, revision=revision)
    else:
        path = resolve(source)
    return read_prompts(path, name=source, field=field, count=count)
