"""What comes from the Hub: a name becomes a folder or a file on disk, and a revision becomes a
commit."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from surgery.errors import SourceError
from surgery.hub.client import failures
from surgery.hub.names import is_hub_id

_MODEL_FILES = [
    "*.json",
    "*.safetensors",
    "*.jinja",
    "*.model",
    "*.txt",
    "*.py",
    "*.md",
    "LICENSE*",
    "NOTICE*",
]


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit, on disk. `commit` is None for a folder that is not from the Hub."""

    folder: Path
    commit: str | None


def fetch_model(source: str, *, revision: str | None = None) -> Snapshot:
    """A folder as it stands, or a Hub model repository downloaded to the cache.

    Raises:
        SourceError: neither a folder nor a repository that can be had.
    """
    return _fetch(source, revision, _MODEL_FILES)


def fetch_dictionary(source: str, path: str | None = None, *, revision: str | None = None) -> Snapshot:
    """A folder as it stands, or a Hub repository of which only `path` (a folder or file in it) is downloaded.

    Without a path everything is downloaded, which is what a repository of one dictionary needs.

    Raises:
        SourceError: neither a folder nor a repository that can be had.
    """
    inside = None if path is None else path.strip("/")
    return _fetch(source, revision, None if inside is None else [inside, f"{inside}/*"])


def fetch_dataset_file(source: str, file: str, *, revision: str | None = None) -> Path:
    """One file of a Hub dataset, downloaded to the cache.

    Raises:
        SourceError: the file cannot be had.
    """
    from huggingface_hub import hf_hub_download

    _refuse_path(source)
    try:
        return Path(hf_hub_download(source, file, repo_type="dataset", revision=revision))
    except failures() as error:
        raise _unavailable(f"{source}/{file}", error) from error


def fetch_dataset(source: str, pattern: str, *, revision: str | None = None) -> tuple[Snapshot, list[Path]]:
    """The files of a Hub dataset that match `pattern` (`data/train-*.jsonl.gz`; `*` passes slashes),
    downloaded to the cache: the snapshot that holds them, and their paths by name.

    Raises:
        SourceError: the dataset cannot be had, or nothing in it matches.
    """
    from huggingface_hub import snapshot_download

    _refuse_path(source)
    try:
        folder = Path(
            snapshot_download(source, repo_type="dataset", revision=revision, allow_patterns=[pattern])
        )
    except failures() as error:
        raise SourceError(
            f"{source}: the Hub did not give this dataset: {_first_line(error)} (check the name, the network,"
            " HF_HUB_OFFLINE, or `hf auth login`; or download the files and name their path)"
        ) from error
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path for path in files if fnmatch(path.relative_to(folder).as_posix(), pattern)]
    if not found:
        raise SourceError(
            f"{source}: no file in it at {folder.name} matches {pattern!r}; correct the pattern"
        )
    return Snapshot(folder, folder.name), found


def _fetch(source: str, revision: str | None, wanted: list[str] | None) -> Snapshot:
    """The folder of that name, or of the Hub repository the files that match `wanted` (None: all)."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return Snapshot(folder.resolve(), None)
    from huggingface_hub import snapshot_download

    _refuse_path(source)
    try:
        found = Path(snapshot_download(source, revision=revision, allow_patterns=wanted))
    except failures() as error:
        raise _unavailable(source, error) from error
    return Snapshot(found, found.name)


def _refuse_path(source: str) -> None:
    if Path(source).expanduser().is_file():
        raise SourceError(f"{source}: is a file; name the folder that it lies in")
    if not is_hub_id(source):
        raise SourceError(f"{source}: no such folder, and not a Hub id (those look like 'organisation/name')")


def _unavailable(source: str, error: Exception) -> SourceError:
    return SourceError(
        f"{source}: not a folder here, and the Hub did not give it: {_first_line(error)} (check the name,"
        " the network, or `hf auth login`)"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
