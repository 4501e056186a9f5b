"""From the name in a recipe to an open dictionary: where it is, which format it has, who reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from surgery.demo.sources import dictionary_folder, is_demo
from surgery.dictionary.circuit_tracer import FILE as CIRCUIT_FILE
from surgery.dictionary.circuit_tracer import read_circuit_tracer
from surgery.dictionary.dictionary import Dictionary
from surgery.dictionary.dictionary_learning import read_dictionary_learning
from surgery.dictionary.facts import NO_FACTS, Facts, missing_fact
from surgery.dictionary.gemma_scope import read_gemma_scope, read_gemma_scope_2
from surgery.dictionary.goodfire import FILE as GOODFIRE_FILE
from surgery.dictionary.goodfire import read_goodfire
from surgery.dictionary.llama_scope import R1_MARK, read_llama_scope
from surgery.dictionary.openai import read_openai
from surgery.dictionary.qwen_scope import FILE as QWEN_FILE
from surgery.dictionary.qwen_scope import read_qwen_scope
from surgery.dictionary.saelens import read_saelens
from surgery.dictionary.saex import MARK as SAEX_MARK
from surgery.dictionary.saex import read_saex
from surgery.dictionary.sparsify import read_sparsify
from surgery.dictionary.weights import open_weights
from surgery.errors import DictionaryError, SourceError
from surgery.hub import fetch_dictionary
from surgery.hub.listing import repository_files


class Reader(Protocol):
    """How every format is read: `place` is a folder, or the file itself where a format is one file."""

    def __call__(self, place: Path, name: str, facts: Facts, /) -> Dictionary: ...


READERS: dict[str, Reader] = {
    "saelens": read_saelens,
    "saex": read_saex,
    "gemma_scope": read_gemma_scope,
    "gemma_scope_2": read_gemma_scope_2,
    "llama_scope": read_llama_scope,
    "qwen_scope": read_qwen_scope,
    "openai": read_openai,
    "goodfire": read_goodfire,
    "circuit_tracer": read_circuit_tracer,
    "sparsify": read_sparsify,
    "dictionary_learning": read_dictionary_learning,
}
"""Format → its reader."""
_OF_ONE_FILE = ("qwen_scope", "openai", "goodfire", "circuit_tracer")
_PICKLES = (".pt", ".pth")
_WEIGHTS = ("params.npz", "params.safetensors", "sae_weights.safetensors", "sae.safetensors", "ae.pt")
_MOST_LISTED = 8


def open_dictionary(
    source: str, *, revision: str | None = None, path: str | None = None, facts: Facts = NO_FACTS
) -> Dictionary:
    """Open a dictionary of any known format.

    Args:
        source: `demo:refuser`, a folder or file, or a Hub id.
        revision: Hub branch, tag or commit.
        path: folder or file inside the source, where it holds several dictionaries.
        facts: what the files do not say, or say wrongly.

    Raises:
        SourceError: there is nothing under that name.
        DictionaryError: what is there is not a dictionary that can be read exactly.
    """
    name = source if path is None else f"{source}/{path.strip('/')}"
    place, commit = _locate(source, revision, path, name)
    kind = facts.format or detect_format(place, name)
    if kind not in READERS:
        raise DictionaryError(f"{name}: no format is called {kind!r}; known: {', '.join(READERS)}")
    if place.is_file() and kind not in _OF_ONE_FILE:
        place = place.parent
    if place.is_dir() and kind in _OF_ONE_FILE:
        place = _only_file(place, kind, name)
    found = READERS[kind](place, name, facts)
    if facts.output_point is not None and not found.is_transcoder:
        raise DictionaryError(f"{name} is no transcoder: it writes where it reads; leave output_point out")
    return replace(
        found,
        format=kind,
        commit=commit,
        hook_point=facts.hook_point or found.hook_point,
        output_point=facts.output_point or found.output_point,
    )


def detect_format(place: Path, name: str) -> str:
    """The format of a folder or file, told by its files' names and, where two share them, by a tensor.

    Raises:
        DictionaryError: it is none that is known, or the files of several are there; the message says which.
    """
    if place.is_file():
        kind = _of_one_file(place.name)
        if kind is not None:
            return kind
        if place.suffix not in (*_PICKLES, ".safetensors", ".npz", ".json"):
            raise DictionaryError(f"{name}: a {place.suffix or 'nameless'} file is no dictionary's")
        place = place.parent
    alone = [kind for each in place.iterdir() if (kind := _of_one_file(each.name)) is not None]
    # Beside other weights a pickle is the state of a training run.
    found = [kind for kind, fits in _SIGNS.items() if fits(place)] or (alone if len(alone) == 1 else [])
    if len(found) > 1:
        raise missing_fact(
            name, f"the files of several formats are there ({', '.join(found)})", "format", found[0]
        )
    if found:
        return found[0]
    weights = {each.name for each in place.rglob("*.safetensors")} - {"sparsity.safetensors"}
    if _has_config(place) and not weights:
        raise DictionaryError(f"{name}: has a configuration and no weights; download its weights file too")
    files = [each.relative_to(place).as_posix() for each in place.rglob("*") if each.is_file()]
    below = [each for each in _dictionaries_among(files) if each != "."]
    if below:
        raise _several(name, below)
    listed = ", ".join(sorted(each.name for each in place.iterdir())[:_MOST_LISTED]) or "nothing"
    raise DictionaryError(
        f"{name}: no dictionary of a known format is there ({', '.join(READERS)}); it holds: {listed}"
    )


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda place: all((place / name).is_file() for name in names)


def _holds(place: Path, tensor: str) -> bool:
    weights = place / "sae_weights.safetensors"
    return weights.is_file() and tensor in open_weights(weights, str(place))


def _of_one_file(name: str) -> str | None:
    """The format of a file that is a whole dictionary, by its name alone: a pickle is not opened before
    somebody allows it."""
    for kind, pattern in (
        ("qwen_scope", QWEN_FILE),
        ("goodfire", GOODFIRE_FILE),
        ("circuit_tracer", CIRCUIT_FILE),
    ):
        if pattern.fullmatch(name):
            return kind
    return "openai" if PurePosixPath(name).suffix in _PICKLES and name != "ae.pt" else None


_SIGNS: dict[str, Callable[[Path], bool]] = {
    "gemma_scope": _has("params.npz"),
    "gemma_scope_2": _has("params.safetensors"),
    "llama_scope": lambda place: (
        _has("hyperparams.json", "checkpoints/final.safetensors")(place) or _holds(place, R1_MARK)
    ),
    "sparsify": _has("cfg.json", "sae.safetensors"),
    "dictionary_learning": _has("ae.pt"),
    "saex": lambda place: _holds(place, SAEX_MARK),
    "saelens": lambda place: (
        _has("sae_weights.safetensors")(place)
        and not any(_holds(place, each) for each in (SAEX_MARK, R1_MARK))
    ),
}
"""Formats of several files → whether a folder has them."""


def _has_config(place: Path) -> bool:
    return any((place / each).is_file() for each in ("cfg.json", "hyperparams.json"))


def _dictionaries_among(files: Iterable[str]) -> list[str]:
    """The folders, or files where a format is one file, that hold a dictionary each; by names alone."""
    paths = [PurePosixPath(file) for file in files]
    folders = {each.parent for each in paths if each.name in _WEIGHTS}
    folders |= {
        each.parent.parent for each in paths if each.parts[-2:] == ("checkpoints", "final.safetensors")
    }
    # Beside other weights a pickle is the state of a training run.
    found = folders or {each for each in paths if _of_one_file(each.name) is not None}
    return sorted(each.as_posix() for each in found)


def _several(name: str, below: Sequence[str]) -> DictionaryError:
    listed = ", ".join(below[:_MOST_LISTED]) + (", …" if len(below) > _MOST_LISTED else "")
    noun = "dictionary" if len(below) == 1 else "dictionaries"
    return DictionaryError(
        f"{name}: holds {len(below)} {noun} ({listed}); name one with --path {below[0]} (in a"
        f" recipe: path: {below[0]})"
    )


def _only_file(folder: Path, kind: str, name: str) -> Path:
    """The one file of a folder that may be of a format: any pickle, where the format was given."""
    suffixes = (".safetensors",) if kind == "circuit_tracer" else _PICKLES
    files = sorted(each for each in folder.iterdir() if each.suffix in suffixes)
    if len(files) != 1:
        raise DictionaryError(f"{name}: {len(files)} {suffixes[0]} files are there; name one with --path")
    return files[0]


def _locate(source: str, revision: str | None, path: str | None, name: str) -> tuple[Path, str | None]:
    """Where it is on disk, and the commit that it is from, of the Hub's."""
    if path is not None and ".." in Path(path).parts:
        raise SourceError(f"{name}: the path inside a source cannot lead out of it")
    commit = None
    if is_demo(source):
        place = dictionary_folder(source)
    elif Path(source).expanduser().is_file():
        place = Path(source).expanduser().resolve()
    else:
        _refuse_several(source, revision, path)
        snapshot = fetch_dictionary(source, path, revision=revision)
        place, commit = snapshot.folder, snapshot.commit
    place = place if path is None else place / path.strip("/")
    if not place.exists():
        raise SourceError(f"{name}: there is nothing under that path")
    return place, commit


def _refuse_several(source: str, revision: str | None, path: str | None) -> None:
    """Before a repository of many dictionaries is downloaded: most hold hundreds of gigabytes of them."""
    inside = PurePosixPath("." if path is None else path.strip("/"))
    files = repository_files(source, revision=revision)
    below = _dictionaries_among(each for each in files if PurePosixPath(each).is_relative_to(inside))
    if len(below) > 1 and inside.as_posix() not in below:
        raise _several(source, below)
