"""`sources.lock.json`: which commits of the Hub a run's model and texts come from.

A branch moves; a run that is resumed, or a dictionary that is measured again, must read what it read before.
So every Hub id in a config is fetched at the commit that stands in the lock, or, in a new run, at the one
that its branch has just then, and the config that goes on names commits only.
"""

import json
from pathlib import Path

from surgery.errors import SourceError
from surgery.hub import fetch_dataset, fetch_model
from trainer.config import Config, ModelSettings, TextSource
from trainer.sources import is_on_hub

LOCK = "sources.lock.json"


Lock = dict[str, str]
"""Commits by Hub id, with the pattern of a dataset, and the revision where one was asked for."""


def read_lock(folder: Path) -> Lock:
    """The lock in `folder`; empty where there is none. Raises: SourceError when it cannot be read."""
    try:
        found: Lock = json.loads((folder / LOCK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder / LOCK}: cannot be read: {error}; start over with --overwrite") from error
    return found


def write_lock(folder: Path, lock: Lock) -> None:
    """Write the lock, if there is anything in it."""
    if lock:
        (folder / LOCK).write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")


def pinned(config: Config, base: Path, known: Lock) -> tuple[Config, Lock]:
    """The config with every Hub id at a commit, that of `known` where it stands there; and those commits.

    Raises: SourceError when one cannot be had.
    """
    lock: Lock = {}
    model = _pinned_model(config.model, base, known, lock)
    train, held_out = (
        tuple(_pinned_texts(source, known, lock) for source in part)
        for part in (config.data.train, config.data.held_out)
    )
    data = config.data.model_copy(update={"train": train, "held_out": held_out})
    return config.model_copy(update={"model": model, "data": data}), lock


def _pinned_model(model: ModelSettings, base: Path, known: Lock, lock: Lock) -> ModelSettings:
    if not is_on_hub(model.source, base):
        return model
    key = _key(model.source, model.revision)
    revision = known.get(key, model.revision)
    commit = fetch_model(model.source, revision=revision).commit
    lock[key] = str(commit)
    return model.model_copy(update={"revision": commit})


def _pinned_texts(source: TextSource, known: Lock, lock: Lock) -> TextSource:
    if source.file is None:
        return source
    key = _key(f"{source.source}/{source.file}", source.revision)
    revision = known.get(key, source.revision)
    snapshot, _ = fetch_dataset(source.source, source.file, revision=revision)
    lock[key] = str(snapshot.commit)
    return source.model_copy(update={"revision": snapshot.commit})


def _key(name: str, revision: str | None) -> str:
    return f"{name}@{revision}" if revision else name
