"""The tensors of a dictionary's weights file, as float32 arrays that are mapped from the disk where they can
be.

A float32 tensor of a safetensors file, or of an npz file that is not compressed, is a window on the file: it
costs nothing until rows of it are read. Other precisions are converted, which reads them. A `.pt` file is a
pickle: it is opened only where the user says so, and then with torch's reader that builds tensors and plain
values and runs no code.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from surgery.checkpoint.header import TensorEntry, read_header
from surgery.dictionary.facts import missing_fact
from surgery.errors import DictionaryError

_NUMPY = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
_MATRICES = frozenset({"w_enc", "w_dec", "w_e", "w_d", "encoder.weight", "decoder.weight"})
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class WeightsFile:
    """A file of named tensors; `plain` holds what is not a tensor (of a pickle: k, the activation's name)."""

    path: Path
    name: str
    shapes: dict[str, tuple[int, ...]]
    plain: dict[str, Any]
    read: Callable[[str], np.ndarray]

    def __contains__(self, tensor: str) -> bool:
        return tensor in self.shapes

    def array(self, tensor: str) -> np.ndarray:
        """One tensor as float32, mapped where possible.

        Raises:
            DictionaryError: there is none of that name; the message lists what there is.
        """
        self.require([tensor])
        with _reading(self.path, self.name):
            value = self.read(tensor)
        return value if value.dtype == np.float32 else value.astype(np.float32)

    def require(self, tensors: Iterable[str]) -> None:
        """Raise a DictionaryError that names every one of these tensors that is missing."""
        missing = sorted(set(tensors) - self.shapes.keys())
        if missing:
            raise DictionaryError(
                f"{self.name}: {self.path.name} lacks {', '.join(missing)}; it holds:"
                f" {', '.join(sorted(self.shapes)) or 'nothing'}"
            )


def open_weights(path: Path, name: str, *, trust_pickle: bool = False) -> WeightsFile:
    """Open a `.safetensors`, `.npz` or `.pt` file.

    Raises:
        DictionaryError: it is missing, damaged, a crosscoder's, or a pickle that nobody trusted.
    """
    if not path.is_file():
        raise DictionaryError(f"{name}: there is no file {path.name} there")
    opened = _open(path, name, trust_pickle=trust_pickle)
    for tensor, shape in opened.shapes.items():
        if tensor.lower() in _MATRICES and len(shape) > 2:
            raise several_places(name, f"{tensor} has shape {shape}")
    return opened


def several_places(name: str, what: str) -> DictionaryError:
    """The error for a crosscoder, which has a matrix for each of several layers or models."""
    return DictionaryError(
        f"{name}: {what}, so it is a crosscoder or a cross-layer transcoder; a dictionary here reads one"
        " place and writes one, and nothing says which is meant. Save the encoder, decoder and biases"
        " of one place as a SAELens folder (architecture 'transcoder' where it reads another than it writes)"
    )


@contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    """Whatever damaged bytes lead a reader to becomes one error that names the file."""
    try:
        yield
    except DictionaryError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise DictionaryError(f"{name}: {path.name} cannot be read: {reason}") from error


def _open(path: Path, name: str, *, trust_pickle: bool) -> WeightsFile:
    if path.suffix == ".safetensors":
        return _safetensors(path, name)
    if path.suffix == ".npz":
        return _npz(path, name)
    if path.suffix in (".pt", ".pth"):
        if not trust_pickle:
            raise missing_fact(
                name,
                f"{path.name} is a pickle, which can carry code; it is read without running any, and only"
                " where you allow it",
                "trust_pickle",
                "true",
            )
        return _pickle(path, name)
    raise DictionaryError(f"{name}: {path.name} is no .safetensors, .npz or .pt file")


def _safetensors(path: Path, name: str) -> WeightsFile:
    with _reading(path, name):
        entries = read_header(path).tensors

    def read(tensor: str) -> np.ndarray:
        return _window(path, entries[tensor], name)

    return WeightsFile(path, name, {key: entry.shape for key, entry in entries.items()}, {}, read)


def _window(path: Path, entry: TensorEntry, name: str) -> np.ndarray:
    if entry.dtype not in _NUMPY:
        raise DictionaryError(
            f"{name}: {entry.name} is stored as {entry.dtype}, which is no dictionary's type"
        )
    if entry.n_bytes == 0:
        return np.zeros(entry.shape, dtype=np.float32)
    # A tensor without axes is mapped as one entry, since an empty shape has no map.
    shape = entry.shape or (1,)
    mapped = np.memmap(path, dtype=_NUMPY[entry.dtype], mode="r", offset=entry.start, shape=shape)
    if entry.dtype != "BF16":
        return mapped.reshape(entry.shape)
    return (mapped.astype(np.uint32) << 16).view(np.float32).reshape(entry.shape)


def _npz(path: Path, name: str) -> WeightsFile:
    with _reading(path, name), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        heads = {key: _npy_head(archive, info) for key, info in members.items()}

    def read(tensor: str) -> np.ndarray:
        info, (shape, fortran, dtype, length) = members[tensor], heads[tensor]
        if info.compress_type != zipfile.ZIP_STORED or not shape:
            with np.load(path, allow_pickle=False) as archive:
                return np.asarray(archive[tensor])
        start = _data_offset(path, info) + length
        order: Any = "F" if fortran else "C"
        return np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape, order=order)

    return WeightsFile(path, name, {key: head[0] for key, head in heads.items()}, {}, read)


def _npy_head(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo
) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = reader(file)
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds Python objects, which are never loaded")
        return shape, fortran, dtype, file.tell()


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header, whose extra field may differ."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        _, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return int(info.header_offset + _LOCAL_HEADER.size + name_length + extra_length)


def _pickle(path: Path, name: str) -> WeightsFile:
    held = _unpickled(path, name)
    if not isinstance(held, dict):
        raise DictionaryError(f"{name}: {path.name} holds a {type(held).__name__}, not a table of tensors")
    import torch

    tensors = {str(key): value for key, value in held.items() if isinstance(value, torch.Tensor)}
    plain = {str(key): value for key, value in held.items() if not isinstance(value, torch.Tensor)}

    def read(tensor: str) -> np.ndarray:
        array: np.ndarray = tensors[tensor].detach().float().numpy()
        return array

    return WeightsFile(path, name, {key: tuple(value.shape) for key, value in tensors.items()}, plain, read)


def _unpickled(path: Path, name: str) -> Any:
    import torch

    load = partial(torch.load, path, map_location="cpu", weights_only=True)
    try:
        try:
            return load(mmap=True)
        except RuntimeError:  # files from before torch 1.6 cannot be mapped
            return load()
    except Exception as error:  # an unpickler of damaged bytes raises whatever they lead it to
        reason = str(error).strip() or type(error).__name__
        raise DictionaryError(
            f"{name}: {path.name} holds more than tensors and plain values, or is damaged, and is not opened"
            f" ({reason.splitlines()[0][:200]}); ask its author for a safetensors file"
        ) from error
