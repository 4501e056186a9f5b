"""Activations on disk: written once, read by any number of runs.

    FOLDER/resid_pre.4/index.json      what they are and how many rows each shard holds
    FOLDER/resid_pre.4/00000.npy       (rows, d) float32, only tokens that are learnt, at most 262,144 rows

A pass goes through blocks of `data.batch` · `data.context` rows in a random order of its own, the same for
the same seed; the run's buffer mixes rows further. So the number of blocks taken is all that a resumed run
needs. The index is written last: a folder without one is unfinished. It says what the rows were made from,
and a config that asks for anything else is refused.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from surgery.errors import OutputError, SourceError
from trainer.config import Config, HookSettings
from trainer.feed import Harvest

SHARD_ROWS = 262_144
INDEX, VERSION = "index.json", 1


def place_of(folder: Path, hook: HookSettings) -> Path:
    """Where the rows of one hook point lie."""
    return folder / f"{hook.point}.{hook.layer}"


def made_from(config: Config) -> dict[str, Any]:
    """All of a config that its rows depend on, by dotted key."""
    told = config.model_dump(mode="json")
    data = {
        f"data.{key}": told["data"][key] for key in told["data"] if key not in ("held_out", "activations")
    }
    model = {f"model.{key}": told["model"][key] for key in ("source", "dtype")}
    return {**model, **{f"hook.{key}": told["hook"][key] for key in told["hook"]}, **data}


def write_shards(
    configs: Mapping[HookSettings, Config], parts: Iterable[Mapping[HookSettings, Harvest]], folder: Path,
    *, shard_rows: int = SHARD_ROWS,
) -> dict[HookSettings, int]:  # fmt: skip
    """Write one pass over the data, in a folder for each hook point; rows written to each.

    Raises: OutputError when a folder is there already or cannot be written; SourceError without any row.
    """
    try:
        shelves = {hook: _Shelf(place_of(folder, hook), shard_rows) for hook in configs}
        for part in parts:
            for hook, (rows, keep) in part.items():
                shelves[hook].add(np.asarray(rows)[keep])
        return {hook: shelf.close(made_from(configs[hook])) for hook, shelf in shelves.items()}
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error}; choose another --out") from error


class _Shelf:
    """The shards of one hook point while they are written, and the rows that fill none yet."""

    def __init__(self, folder: Path, shard_rows: int) -> None:
        folder.mkdir(parents=True)
        self._folder, self._size = folder, shard_rows
        self._waiting: list[np.ndarray] = []
        self._counts: list[int] = []

    def add(self, rows: np.ndarray) -> None:
        self._waiting.append(rows)
        while sum(map(len, self._waiting)) >= self._size:
            together = np.concatenate(self._waiting)
            self._write(together[: self._size])
            self._waiting = [together[self._size :]]

    def _write(self, rows: np.ndarray) -> None:
        np.save(self._folder / _name(len(self._counts)), rows)
        self._counts.append(len(rows))

    def close(self, source: dict[str, Any]) -> int:
        rest = np.concatenate(self._waiting) if self._waiting else np.zeros((0, 0), np.float32)
        if len(rest):
            self._write(rest)
        if not self._counts:
            raise SourceError("every token of data.train was left out; nothing was harvested")
        index = {"version": VERSION, "width": rest.shape[1], "rows": self._counts, "made_from": source}
        (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        return sum(self._counts)


def _name(shard: int) -> str:
    return f"{shard:05d}.npy"


def passes(folder: Path, config: Config) -> Callable[[int, int], Iterator[Harvest]]:
    """Pass number, blocks to leave out at its start -> the rest of that pass, block by block.

    Raises: SourceError when the folder is none, a shard is missing or cut short, or another config made them.
    """
    shards = _opened(place_of(folder, config.hook), config)
    size = config.data.batch * config.data.context
    blocks = [(shard, first) for shard in shards for first in range(0, len(shard), size)]

    def one_pass(number: int, start: int) -> Iterator[Harvest]:
        order = np.random.default_rng([config.seed, number]).permutation(len(blocks))
        for place in order[start:]:
            shard, first = blocks[place]
            rows = np.array(shard[first : first + size])
            missing = size - len(rows)
            keep = np.arange(size) < len(rows)
            yield jnp.asarray(np.pad(rows, ((0, missing), (0, 0)))), keep

    return one_pass


def _opened(folder: Path, config: Config) -> list[np.ndarray]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        version, width, counts, source = (index[key] for key in ("version", "width", "rows", "made_from"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(folder, f"no finished activations: {error!r}") from error
    if version != VERSION:
        raise _unusable(folder, f"version {version}, this trainer reads {VERSION}")
    for key, wanted in made_from(config).items():
        if source.get(key) != wanted:
            raise _unusable(folder, f"made with {key} = {source.get(key)!r}, the config says {wanted!r}")
    return [_shard(folder / _name(number), count, width) for number, count in enumerate(counts)]


def _shard(path: Path, count: int, width: int) -> np.ndarray:
    try:
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unusable(path, f"missing or cut short: {error}") from error
    if rows.shape != (count, width) or rows.dtype != np.float32:
        raise _unusable(path, f"holds {rows.dtype} {rows.shape}, the index says float32 {(count, width)}")
    return rows


def _unusable(path: Path, why: str) -> SourceError:
    return SourceError(f"data.activations: {path}: {why}; harvest again with surgery-train harvest")
