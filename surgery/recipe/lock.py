"""The resolved recipe: what ran, with every name pinned to bytes.

A lock file is a recipe. Its keys are those of the recipe that ran, defaults written out and overrides
applied, and one more, `resolved`, which says what the names stood for:

    resolved:
      seed: 0
      model: {commit: ..., files: {model.safetensors: <sha256>}}
      prompts: {"demo:harmful": {sha256: ..., count: 128}}
      directions: {refusal: <sha256>}
      dictionaries: {"demo:refuser": <sha256>}
      versions: {surgery: 0.1.0, torch: 2.13.0}
      recipe: {sha256: ...}                        # of the text of the first recipe; written here

`model`, and each entry of `prompts` (by its source, or `source/file`) and `dictionaries`, may hold a
`commit`: what a branch or tag stood for. It is written into the recipe's own `revision`, so that applying the
lock fetches that commit.

Paths: one that the recipe gives absolute, or from `~` on, stays so. A prompt set or direction file that it
names relative to itself is named relative to the lock's folder, so that no home folder is published and a
checkout can be moved as a whole. `output.folder` and folders of models and dictionaries stay as they are,
relative to the working directory. Equal runs write equal bytes: keys are sorted and there is no time stamp.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from surgery.recipe.reader import LoadedRecipe
from surgery.recipe.sources import find_sources
from surgery.recipe.yaml_tree import resolve_plain

_HEADER = (
    "# The recipe that ran, with every name resolved. `surgery apply` on this file writes the same bytes.\n"
)
_WORDS = {
    "prompts": "prompt set",
    "directions": "direction",
    "dictionaries": "dictionary",
    "versions": "version of",
}


def write_lock(path: Path, loaded: LoadedRecipe, resolved: Mapping[str, Any]) -> None:
    """Write the lock of a run; `resolved` is plain data (mappings, lists, text, numbers)."""
    path.write_text(lock_text(loaded, resolved, path.parent), encoding="utf-8", newline="\n")


def lock_text(loaded: LoadedRecipe, resolved: Mapping[str, Any], folder: Path) -> str:
    """The text of a lock file that will lie in `folder`."""
    values = loaded.recipe.model_dump(mode="json", exclude_none=True) | {"name": loaded.name}
    values.pop("resolved", None)
    _pin(values, resolved)
    moved = _move_paths(values, loaded, folder)
    values["resolved"] = _renamed_prompts(_plain(resolved), moved) | {"recipe": _first_recipe(loaded)}
    return _HEADER + yaml.dump(
        values, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=1000, default_flow_style=False
    )


def check_lock(loaded: LoadedRecipe, resolved_now: Mapping[str, Any]) -> list[str]:
    """What differs between a lock and what its names stand for now; nothing for a recipe that is no lock.

    Each difference is a sentence: `prompt set demo:harmful: sha256 was 12…, now 34…`.
    """
    if loaded.recipe.resolved is None:
        return []
    then = {key: each for key, each in loaded.recipe.resolved.items() if key != "recipe"}
    now = {key: each for key, each in _plain(resolved_now).items() if key != "recipe"}
    return list(_differences(then, now, ()))


def _first_recipe(loaded: LoadedRecipe) -> dict[str, Any]:
    """Digest of the text that the run began from; the lock of a lock keeps that of the first recipe."""
    kept = (loaded.recipe.resolved or {}).get("recipe")
    return kept if isinstance(kept, dict) else {"sha256": hashlib.sha256(loaded.text.encode()).hexdigest()}


def _pin(values: dict[str, Any], resolved: Mapping[str, Any]) -> None:
    """Write each commit that was resolved into the recipe's own `revision`."""
    for source in list(find_sources(values)):
        entry = resolved.get(source.room) or {}
        entry = entry if source.room == "model" else entry.get(source.resolved_key)
        if source.room != "directions" and isinstance(entry, Mapping) and entry.get("commit"):
            _section(values, source.path)["revision"] = entry["commit"]


def _move_paths(values: dict[str, Any], loaded: LoadedRecipe, folder: Path) -> dict[str, str]:
    """Rewrite relative paths for the lock's folder; returns each old name with its new one."""
    moved: dict[str, str] = {}
    for source in list(find_sources(values)):
        if (
            source.is_beside_recipe
            and not source.name.startswith("~")
            and not Path(source.name).is_absolute()
        ):
            moved[source.name] = _relative(loaded.resolve(source.name), folder)
            _section(values, source.path)[source.path[-1]] = moved[source.name]
    return moved


def _renamed_prompts(resolved: Any, moved: Mapping[str, str]) -> Any:
    """`resolved` with each prompt set under the name that the lock itself gives it."""
    if not isinstance(resolved.get("prompts"), dict):
        return resolved
    prompts = {moved.get(name, name): each for name, each in resolved["prompts"].items()}
    return resolved | {"prompts": prompts}


def _section(values: Any, path: tuple[str | int, ...]) -> Any:
    """The mapping that holds the last key of `path`."""
    for part in path[:-1]:
        values = values[part]
    return values


def _relative(target: Path, folder: Path) -> str:
    """A path from `folder`, written so that it is read as a path and never as a name."""
    moved = Path(os.path.relpath(target, folder)).as_posix()
    return moved if moved.startswith("../") else f"./{moved}"


def _differences(then: Any, now: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(then, dict) or isinstance(now, dict):
        before, after = (each if isinstance(each, dict) else {} for each in (then, now))
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(key), after.get(key), (*path, str(key)))
    elif then != now:
        yield f"{_spoken(path)} was {_shown(then)}, now {_shown(now)}"


def _spoken(path: tuple[str, ...]) -> str:
    if len(path) >= 2 and path[0] in _WORDS:
        head, rest = f"{_WORDS[path[0]]} {path[1]}", path[2:]
    else:
        head, rest = path[0], path[1:]
    return ": ".join((head, " ".join(rest))) if rest else head


def _shown(value: Any) -> str:
    return "absent" if value is None else str(value)


def _plain(value: Any) -> Any:
    """The same value in dict and list alone, keys as text, as the lock stores it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


class _Dumper(yaml.SafeDumper):
    """Writes no alias, and quotes every text that the reader would not take for text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        style = None if isinstance(resolve_plain(text), str) else "'"
    except ValueError:
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
