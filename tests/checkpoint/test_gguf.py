"""Reading GGUF: values as written, and files that are not what they say."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from surgery.checkpoint.gguf import open_gguf, read_rows
from surgery.errors import CheckpointError
from tests.checkpoint.gguf_files import write_gguf

VALUES = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)


@pytest.mark.parametrize(("kind", "tolerance"), [("F32", 0), ("F16", 1e-3), ("Q8_0", 0.02)])
def test_values_come_back(kind: str, tolerance: float, tmp_path: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", {"one": VALUES[:1], "two": VALUES}, kind))
    assert file.keys == {"general.architecture": "llama"}
    assert file.tensors["two"].shape == (6, 64)
    found = read_rows(file, file.tensors["two"], 2, 3)
    assert np.abs(found - VALUES[2:5]).max() <= tolerance


def test_other_types_are_refused_when_they_are_read(tmp_path: Path) -> None:
    file = open_gguf(write_gguf(tmp_path / "m.gguf", {"w": VALUES}, "Q4_K"))
    with pytest.raises(CheckpointError, match="F16"):
        read_rows(file, file.tensors["w"], 0, 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GGUF",
        b"no gguf at all",
        b"GGUF" + struct.pack("<IQQ", 9, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 40),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 77),
    ],
    ids=["empty", "cut", "other", "version", "counts", "text", "type"],
)
def test_a_damaged_file_is_refused(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"m\.gguf"):
        open_gguf(path)


def test_a_tensor_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"w": VALUES})
    path.write_bytes(path.read_bytes()[:-100])
    file = open_gguf(path)
    with pytest.raises(CheckpointError, match="cut short"):
        read_rows(file, file.tensors["w"], 0, 6)
