"""Reading tensors from their byte ranges, beside the reference reader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from surgery.checkpoint.descriptor import open_to_read, read_into
from surgery.checkpoint.layout import open_checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.errors import CheckpointError
from tests.checkpoint.checkpoint_files import pack

DTYPES = [
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float64,
    torch.int8,
    torch.bool,
    torch.float8_e4m3fn,
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_what_the_reference_reads(single: Path, dtype: torch.dtype) -> None:
    tensor = (torch.arange(12.0).reshape(3, 4) - 5).to(dtype)
    save_file({"x": tensor, "pad": torch.zeros(3)}, single / "model.safetensors")
    checkpoint = open_checkpoint(single)
    stored = read_tensor(checkpoint, "x", None)
    assert stored.dtype == dtype
    reference = load_file(single / "model.safetensors")["x"]
    assert torch.equal(stored.view(torch.uint8), reference.view(torch.uint8))
    assert read_tensor(checkpoint, "x").dtype == torch.float32


def test_reads_an_empty_tensor(single: Path) -> None:
    save_file({"x": torch.empty(0, 4)}, single / "model.safetensors")
    assert read_tensor(open_checkpoint(single), "x").shape == (0, 4)


def test_refuses_a_type_that_torch_lacks(single: Path) -> None:
    entry = {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}
    (single / "model.safetensors").write_bytes(pack({"x": entry}, b"\0\0\0"))
    with pytest.raises(CheckpointError, match="F6_E2M3: torch has no such type"):
        read_tensor(open_checkpoint(single), "x")


def test_notices_a_file_that_became_shorter(single: Path) -> None:
    checkpoint = open_checkpoint(single)
    path = single / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: became shorter"):
        read_tensor(checkpoint, "b")


def test_reads_into_the_middle(single: Path) -> None:
    data = (single / "model.safetensors").read_bytes()
    buffer = bytearray(10)
    with open_to_read(single / "model.safetensors") as descriptor:
        read_into(descriptor, memoryview(buffer)[2:7], 20)
    assert bytes(buffer) == b"\0\0" + data[20:25] + b"\0\0\0"
