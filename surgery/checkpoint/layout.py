"""What a checkpoint folder holds: its weight files, its config, and every other file beside them.

A checkpoint is either `model.safetensors` or the shards that `model.safetensors.index.json` lists. Index and
headers must agree both ways: a tensor that the index puts in one file and a header has in another, or that
only one of the two knows, is refused, because loaders differ in what they make of it. Opening reads headers
only and imports no tensor library.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any

from surgery.checkpoint.header import MAX_HEADER_BYTES, Header, TensorEntry, parse_json, read_header
from surgery.errors import CheckpointError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CONFIG_FILE = "config.json"

_LEFT_OUT_FOLDERS = frozenset({".git", ".cache", "__pycache__", "surgery"})
_OTHER_WEIGHTS = frozenset(
    {
        ".safetensors",
        ".bin",
        ".pt",
        ".pth",
        ".ckpt",
        ".h5",
        ".msgpack",
        ".gguf",
        ".ggml",
        ".onnx",
        ".onnx_data",
        ".pickle",
    }
)
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt"})


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    `headers` is file name → header in name order; `side_files` are all other files that belong to it (posix
    paths relative to `folder`, sorted); `left_out` are those that do not and that no copy of it gets: weights
    in other formats, which would still be the unedited ones, version-control and cache folders, and the
    `surgery/` record of an earlier edit.
    """

    folder: Path
    headers: Mapping[str, Header]
    config: Mapping[str, Any]
    side_files: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @cached_property
    def tensors(self) -> Mapping[str, TensorEntry]:
        """Tensor name → entry, over all files."""
        return MappingProxyType({name: entry for name, (_, entry) in self._located.items()})

    @cached_property
    def _located(self) -> Mapping[str, tuple[str, TensorEntry]]:
        return {
            name: (file, entry)
            for file, header in self.headers.items()
            for name, entry in header.tensors.items()
        }

    def entry(self, tensor: str) -> tuple[str, TensorEntry]:
        """The file that holds a tensor, and its entry there.

        Raises:
            CheckpointError: no file has a tensor of that name.
        """
        try:
            return self._located[tensor]
        except KeyError:
            raise CheckpointError(f"{self.folder}: has no tensor {tensor!r}") from None

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Tensor name → shape."""
        return MappingProxyType({name: entry.shape for name, entry in self.tensors.items()})

    @property
    def total_bytes(self) -> int:
        """Size of a full copy in bytes: weight files and side files."""
        weights = sum(header.file_bytes for header in self.headers.values())
        return weights + sum((self.folder / name).stat().st_size for name in self.side_files)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a folder that holds a safetensors checkpoint.

    Raises:
        CheckpointError: the folder is no checkpoint, its files are malformed or unsafe, or index and files
            disagree.
    """
    folder = Path(folder)
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise CheckpointError(
            f"{folder}: {reason}; give the folder that holds config.json and the safetensors files"
        )
    files, odd = _list_files(folder)
    table = _weight_map(folder) if INDEX_FILE in files else None
    weights = _weight_files(folder, files, table)
    config = _read_config(folder, files)
    headers = {name: read_header(folder / name) for name in weights}
    if table is not None:
        _check_index(folder, headers, table)
    side, others = _split_side_files(set(files) - set(weights))
    return Checkpoint(folder, MappingProxyType(headers), config, side, tuple(sorted([*others, *odd])))


def _list_files(folder: Path) -> tuple[list[str], list[str]]:
    """All regular files under a folder (links to files followed), and what was passed over."""
    files: list[str] = []
    odd: list[str] = []
    for root, folders, names in os.walk(folder, onerror=_refuse_unlisted):
        here = Path(root)
        for name in sorted(folders):
            if (
                (here / name).is_symlink()
                or (here == folder and name in _LEFT_OUT_FOLDERS)
                or name == "__pycache__"
            ):
                folders.remove(name)
                odd.append((here / name).relative_to(folder).as_posix() + "/")
        for name in names:
            place = here / name
            relative = place.relative_to(folder).as_posix()
            (files if _is_regular(place) else odd).append(relative)
    return sorted(files), odd


def _refuse_unlisted(error: OSError) -> None:
    raise CheckpointError(
        f"{error.filename}: cannot be listed ({error.strerror}), so its files could not be copied; check its"
        " permissions"
    ) from error


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); if it is a link, the download it points to is"
            " incomplete"
        ) from error


def _weight_files(folder: Path, files: list[str], table: Mapping[str, str] | None) -> list[str]:
    if table is None:
        if SINGLE_FILE not in files:
            raise CheckpointError(f"{folder}: {_missing_weights(files)}")
        return [SINGLE_FILE]
    shards = sorted(set(table.values()))
    for shard in shards:
        if shard not in files:
            raise CheckpointError(
                f"{folder / INDEX_FILE}: lists {shard!r}, which is not there; download the folder again"
            )
    if SINGLE_FILE in files and shards != [SINGLE_FILE]:
        raise CheckpointError(
            f"{folder}: has both {SINGLE_FILE} and an index of other files, and loaders differ in which"
            " they take; remove one"
        )
    return shards


def _missing_weights(files: Iterable[str]) -> str:
    names = list(files)
    if "adapter_config.json" in names:
        return "is an adapter, not a checkpoint; merge it into its base model first"
    pickles = [name for name in names if Path(name).suffix in _PICKLES]
    if pickles:
        return (
            f"its weights are pickles ({pickles[0]}), which can run code when they are read; convert them"
            " once where that"
            " does no harm, with transformers' from_pretrained and save_pretrained, and give the new folder"
        )
    ggufs = [name for name in names if name.endswith(".gguf")]
    if ggufs:
        return f"its weights are GGUF ({ggufs[0]}); give the safetensors checkpoint that it was made from"
    if any(name.endswith(".safetensors") for name in names):
        return f"has safetensors files but neither {SINGLE_FILE} nor an {INDEX_FILE} that lists them"
    return f"is no checkpoint: it has neither {SINGLE_FILE} nor {INDEX_FILE}"


def _read_json(path: Path, *, is_config: bool = False) -> Any:
    try:
        size = path.stat().st_size
        if size > MAX_HEADER_BYTES:
            raise CheckpointError(f"{path}: is {size:,} bytes long; at most {MAX_HEADER_BYTES:,} are read")
        return parse_json(path.read_bytes(), str(path), is_config=is_config)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _read_config(folder: Path, files: list[str]) -> Mapping[str, Any]:
    if CONFIG_FILE not in files:
        raise CheckpointError(f"{folder}: has no {CONFIG_FILE}, which says what kind of model it is")
    config = _read_json(folder / CONFIG_FILE, is_config=True)
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / CONFIG_FILE}: is not a JSON object; download the file again")
    return MappingProxyType(config)


def _weight_map(folder: Path) -> dict[str, str]:
    place = folder / INDEX_FILE
    index = _read_json(place)
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise CheckpointError(
            f"{place}: has no weight_map of tensor names to file names; download the file again"
        )
    if not table:
        raise CheckpointError(f"{place}: its weight_map is empty; download the file again")
    for shard in set(table.values()):
        _check_shard_name(place, shard)
    return table


def _check_shard_name(place: Path, shard: str) -> None:
    # Read as a Windows path on every system: there both slashes separate and drives count, so one rule
    # is safe everywhere.
    path = PureWindowsPath(shard)
    plain = shard.isprintable() and path.as_posix() == shard
    if path.drive or path.root or ".." in path.parts or not plain:
        raise CheckpointError(
            f"{place}: lists the file name {shard!r}, which is not a plain relative path inside the folder;"
            " do not trust this checkpoint"
        )
    if not shard.endswith(".safetensors"):
        raise CheckpointError(
            f"{place}: lists {shard!r}, which is not a .safetensors file; do not trust this checkpoint"
        )


def _check_index(folder: Path, headers: Mapping[str, Header], table: Mapping[str, str]) -> None:
    place = folder / INDEX_FILE
    for shard, header in headers.items():
        for tensor in header.tensors:
            if table.get(tensor) != shard:
                said = f"the index says {table[tensor]}" if tensor in table else "the index does not know it"
                raise CheckpointError(
                    f"{place}: tensor {tensor!r} stands in {shard}, but {said}; download the folder again"
                )
    for tensor, shard in table.items():
        if tensor not in headers[shard].tensors:
            raise CheckpointError(
                f"{place}: tensor {tensor!r} should be in {shard} and is not; download the folder again"
            )


def _split_side_files(files: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    side: list[str] = []
    others: list[str] = []
    for name in sorted(files):
        (others if Path(name).suffix.lower() in _OTHER_WEIGHTS else side).append(name)
    return tuple(side), others
