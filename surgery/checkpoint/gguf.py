"""Reading GGUF files: header and the unquantised (F32, F16, BF16) or Q8_0 tensors in them.

    "GGUF" u32 version, u64 tensors, u64 keys, keys, tensor table, padding to the alignment, data

(GGML's specification, version 3.) A Q8_0 block is one float16 scale and 32 int8; a row is a whole number of
blocks. Shapes are turned to rows first, as everywhere else: a matrix is (out, in), an embedding (vocabulary,
d_model).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.numbers import stored_type, widen
from surgery.errors import CheckpointError

Array = npt.NDArray[np.float32]
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST = 1 << 20
_LONGEST = 1 << 24
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 8: ("Q8_0", 32, 34), 30: ("BF16", 1, 2)}
"""Number of a GGML type → its name, elements a block, bytes a block."""


@dataclass(frozen=True)
class GgufTensor:
    """A tensor in the file; `kind` is None where its type cannot be read exactly."""

    name: str
    shape: tuple[int, ...]
    kind: str | None
    start: int


@dataclass(frozen=True)
class GgufFile:
    """An opened file: its keys (arrays left out) and its tensors by name."""

    path: Path
    keys: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]


def open_gguf(path: Path) -> GgufFile:
    """Read the header of a GGUF file.

    Raises:
        CheckpointError: the file cannot be read, is no GGUF of version 2 or 3, or announces impossible sizes.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except (OSError, struct.error, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as GGUF ({error}); download the file again") from error


def read_rows(file: GgufFile, tensor: GgufTensor, first: int, count: int) -> Array:
    """Rows [first, first + count) of a matrix, (count, length) float32.

    Raises:
        CheckpointError: the type is quantised otherwise than Q8_0, or the file ends too early.
    """
    if tensor.kind is None:
        raise CheckpointError(
            f"{file.path}: {tensor.name} is stored in a type that is not read here; give a file in F32, F16,"
            " BF16 or Q8_0"
        )
    length = tensor.shape[-1]
    _, block, n_bytes = next(each for each in _TYPES.values() if each[0] == tensor.kind)
    row = length // block * n_bytes
    with file.path.open("rb") as stream:
        stream.seek(tensor.start + first * row)
        raw = stream.read(count * row)
    if length % block or len(raw) < count * row:
        raise CheckpointError(f"{file.path}: {tensor.name} is cut short; download the file again")
    return _decoded(raw, tensor.kind).reshape(count, length)


def _decoded(raw: bytes, kind: str) -> Array:
    if kind != "Q8_0":
        stored = np.frombuffer(raw, stored_type(kind))
        numbers = np.empty(len(stored), np.float32)
        widen(stored, kind, numbers)
        return numbers
    blocks = np.frombuffer(raw, np.dtype([("scale", "<f2"), ("values", "i1", 32)]))
    decoded: Array = blocks["scale"].astype(np.float32)[:, None] * blocks["values"].astype(np.float32)
    return decoded


def _read(file: BinaryIO, path: Path) -> GgufFile:
    if file.read(4) != _MAGIC:
        raise CheckpointError(f"{path}: is not a GGUF file")
    version, n_tensors, n_keys = struct.unpack("<IQQ", file.read(20))
    if version not in _VERSIONS:
        raise CheckpointError(f"{path}: is GGUF of version {version}; versions 2 and 3 are read")
    if max(n_tensors, n_keys) > _MOST:
        raise CheckpointError(f"{path}: announces {n_tensors:,} tensors and {n_keys:,} keys; it is damaged")
    keys = dict(_key(file, path) for _ in range(n_keys))
    table = [_tensor(file, path) for _ in range(n_tensors)]
    alignment = int(keys.get("general.alignment") or 32)
    data = -(-file.tell() // alignment) * alignment
    tensors = {
        name: GgufTensor(name, shape, _TYPES[kind][0] if kind in _TYPES else None, data + offset)
        for name, shape, kind, offset in table
    }
    return GgufFile(path, {name: value for name, value in keys.items() if value is not None}, tensors)


def _key(file: BinaryIO, path: Path) -> tuple[str, Any]:
    name = _text(file, path)
    (kind,) = struct.unpack("<I", file.read(4))
    return name, _value(file, path, kind)


def _value(file: BinaryIO, path: Path, kind: int) -> Any:
    """A value; arrays (vocabularies) are passed over and count as None."""
    if kind == _STRING:
        return _text(file, path)
    if kind in _SCALARS:
        code = "<" + _SCALARS[kind]
        return struct.unpack(code, file.read(struct.calcsize(code)))[0]
    if kind != _ARRAY:
        raise CheckpointError(f"{path}: holds a key of unknown type {kind}; it is damaged")
    inner, count = struct.unpack("<IQ", file.read(12))
    if inner in _SCALARS:
        file.seek(count * struct.calcsize("<" + _SCALARS[inner]), 1)
    elif inner == _STRING and count <= _LONGEST:
        for _ in range(count):
            _text(file, path)
    else:
        raise CheckpointError(f"{path}: holds an array of type {inner} and length {count:,}; it is damaged")
    return None


def _text(file: BinaryIO, path: Path) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST:
        raise CheckpointError(f"{path}: holds a text of {length:,} bytes; it is damaged")
    return file.read(length).decode("utf-8")


def _tensor(file: BinaryIO, path: Path) -> tuple[str, tuple[int, ...], int, int]:
    name = _text(file, path)
    (axes,) = struct.unpack("<I", file.read(4))
    if not 1 <= axes <= 4:
        raise CheckpointError(f"{path}: {name} has {axes} axes; it is damaged")
    shape = struct.unpack(f"<{axes}Q", file.read(8 * axes))
    kind, offset = struct.unpack("<IQ", file.read(12))
    return name, tuple(reversed(shape)), kind, offset
