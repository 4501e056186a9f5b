"""What a Hub repository holds, before anything of it is downloaded."""

from __future__ import annotations

from pathlib import Path

from surgery.hub.client import failures
from surgery.hub.names import is_hub_id


def repository_files(source: str, *, revision: str | None = None) -> tuple[str, ...]:
    """The names of a Hub model repository's files, sorted.

    Empty where `source` is a folder or no Hub id, and where the Hub cannot be asked: what is in the cache may
    do then, and fetching it says what is wrong where it does not.
    """
    if Path(source).expanduser().is_dir() or not is_hub_id(source):
        return ()
    from huggingface_hub import HfApi

    try:
        return tuple(sorted(HfApi().list_repo_files(source, revision=revision)))
    except failures():
        return ()
