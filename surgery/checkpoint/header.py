"""A strict reader of safetensors headers.

A file is `[u64 little-endian N][N bytes of JSON][byte buffer]`. The JSON maps a tensor's name to its dtype,
shape and `[start, end)` in the buffer; sorted by start, the ranges tile the buffer without hole, overlap or
rest, and each is as long as its shape and dtype say. Anything else is refused: what one reader accepts and
another reads differently is how a file comes to mean two things. Stricter than the reference reader (0.8.0)
in three places where its specification is too: a repeated key, a header that does not begin with `{`, a field
that the format does not know.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from surgery.checkpoint.dtypes import BITS
from surgery.errors import CheckpointError

MAX_HEADER_BYTES = 100_000_000
PREFIX_BYTES = 8
_MAX_ELEMENTS = 2**64 - 1
_FIELDS = {"dtype", "shape", "data_offsets"}
_CURE = "download or save the file again; nothing was read from it"


@dataclass(frozen=True)
class TensorEntry:
    """Where one tensor's bytes stand: `[start, end)` counted from the first byte of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def n_bytes(self) -> int:
        """Length of the range in bytes."""
        return self.end - self.start


@dataclass(frozen=True)
class Header:
    """A file's header. `raw` is its bytes, length prefix included; `tensors` is in file order."""

    path: Path
    raw: bytes
    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorEntry]

    @property
    def file_bytes(self) -> int:
        """Length of the whole file in bytes."""
        return max((entry.end for entry in self.tensors.values()), default=len(self.raw))


def read_header(path: Path) -> Header:
    """Read and check the header of one safetensors file; the tensors themselves are not read.

    Raises:
        CheckpointError: the file cannot be read, or breaks any rule of the format.
    """
    raw, file_bytes = _read_raw(path)
    table = _parse(path, raw[PREFIX_BYTES:])
    metadata = _metadata(path, table.pop("__metadata__", {}))
    entries = [_entry(path, name, value, len(raw)) for name, value in table.items()]
    entries.sort(key=lambda entry: (entry.start, entry.end))
    _check_tiling(path, entries, len(raw), file_bytes)
    return Header(path, raw, metadata, MappingProxyType({entry.name: entry for entry in entries}))


def parse_json(text: bytes, where: str, *, is_config: bool = False) -> Any:
    """Decode JSON, refusing what Python's reader lets pass: repeated keys, NaN, nesting that exhausts the
    stack.

    Args:
        text: what is decoded.
        where: what it is called in an error.
        is_config: transformers' config.json may hold infinities (Mamba-2's `time_step_limit`), bare as
            Python writes them or, from version 5 on, as {"__float__": "Infinity"}; both become floats.

    Raises:
        CheckpointError: naming `where`.
    """
    try:
        return json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique_or_float if is_config else _unique,
            parse_constant=float if is_config else _no_constant,
            parse_float=_finite_float,
        )
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: not valid JSON ({_short(error)}); {_CURE}") from error


def _read_raw(path: Path) -> tuple[bytes, int]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            _refuse(path, "it is not a regular file")
        with path.open("rb") as file:
            prefix = file.read(PREFIX_BYTES)
            length = _header_length(path, prefix, status.st_size)
            raw = prefix + file.read(length)
            file_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); check the file and its permissions"
        ) from error
    if len(raw) != PREFIX_BYTES + length:
        _refuse(path, "it became shorter while it was read")
    if not raw[PREFIX_BYTES:].startswith(b"{"):
        _refuse(path, "its header does not begin with '{'")
    return raw, file_bytes


def _header_length(path: Path, prefix: bytes, file_bytes: int) -> int:
    if len(prefix) < PREFIX_BYTES:
        _refuse(path, f"it is {file_bytes} bytes long, too short for a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        _refuse(path, f"it announces a header of {length:,} bytes; the format allows {MAX_HEADER_BYTES:,}")
    if length > file_bytes - PREFIX_BYTES:
        _refuse(path, f"it announces a header of {length:,} bytes and is only {file_bytes:,} bytes long")
    return length


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    table = parse_json(text, f"{path}: header")
    if not isinstance(table, dict):
        _refuse(path, "its header is not a JSON object")
    for name in table:
        if not _is_text(name):
            _refuse(path, f"tensor name {name!r} is not text that can be written as UTF-8")
    return table


def _metadata(path: Path, value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        _refuse(path, "its __metadata__ is not a map of strings to strings")
    return MappingProxyType(dict(value))


def _entry(path: Path, name: str, value: Any, base: int) -> TensorEntry:
    if not isinstance(value, dict) or set(value) != _FIELDS:
        _refuse(path, f"tensor {name!r} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        _refuse(path, f"tensor {name!r} has the unknown dtype {dtype!r}")
    if not _are_counts(shape):
        _refuse(path, f"tensor {name!r} has a shape that is not a list of whole numbers >= 0")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        _refuse(path, f"tensor {name!r} has data_offsets that are not [start, end] with start <= end")
    bits = _element_bits(path, name, shape, dtype)
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        _refuse(
            path,
            f"tensor {name!r} holds {offsets[1] - offsets[0]:,} bytes; {dtype} {shape} needs"
            f" {bits / 8:,.10g}",
        )
    return TensorEntry(name, dtype, tuple(shape), base + offsets[0], base + offsets[1])


def _element_bits(path: Path, name: str, shape: list[int], dtype: str) -> int:
    # Every partial product is held to 64 bits, also where a later 0 would make the whole product small.
    elements = 1
    for size in shape:
        elements *= size
        if elements > _MAX_ELEMENTS or size > _MAX_ELEMENTS:
            _refuse(path, f"tensor {name!r} has a shape whose size overflows 64 bits")
    return elements * BITS[dtype]


def _check_tiling(path: Path, entries: list[TensorEntry], base: int, file_bytes: int) -> None:
    position = base
    for entry in entries:
        if entry.start != position:
            kind = "overlaps the one before it" if entry.start < position else "leaves a hole before it"
            _refuse(
                path, f"tensor {entry.name!r} {kind} (starts at byte {entry.start:,}, expected {position:,})"
            )
        position = entry.end
    if position != file_bytes:
        _refuse(path, f"its tensors end at byte {position:,} and the file at {file_bytes:,}")


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"the key {key!r} stands twice")
        table[key] = value
    return table


def _unique_or_float(pairs: list[tuple[str, Any]]) -> dict[str, Any] | float:
    table = _unique(pairs)
    is_float = len(table) == 1 and table.get("__float__") in ("Infinity", "-Infinity", "NaN")
    return float(table["__float__"]) if is_float else table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return value


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]


def _refuse(path: Path, reason: str) -> NoReturn:
    raise CheckpointError(f"{path}: {reason}; {_CURE}")
