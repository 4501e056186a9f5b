"""Reading tensors, or parts of them, straight from their byte ranges."""

from __future__ import annotations

import torch

from surgery.checkpoint.descriptor import open_to_read, read_into
from surgery.checkpoint.dtypes import TORCH_NAMES
from surgery.checkpoint.layout import Checkpoint
from surgery.errors import CheckpointError


def torch_dtype(name: str) -> torch.dtype:
    """The torch type of a safetensors dtype.

    Raises:
        CheckpointError: torch has no such type.
    """
    if name not in TORCH_NAMES:
        raise CheckpointError(f"dtype {name}: torch has no such type, so tensors of it cannot be read")
    dtype: torch.dtype = getattr(torch, TORCH_NAMES[name])
    return dtype


def read_tensor(
    checkpoint: Checkpoint,
    name: str,
    dtype: torch.dtype | None = torch.float32,
    *,
    stored: torch.dtype | None = None,
) -> torch.Tensor:
    """Read one whole tensor, converted to `dtype` (None keeps the stored one).

    `stored` takes its bytes for elements of another type of the same width, such as one that torch lacks.

    Raises:
        CheckpointError: no such tensor, a type torch lacks, or a file that ends too early.
    """
    file, entry = checkpoint.entry(name)
    stored = stored or torch_dtype(entry.dtype)
    buffer = bytearray(entry.n_bytes)
    with open_to_read(checkpoint.folder / file) as descriptor:
        read_into(descriptor, memoryview(buffer), entry.start)
    flat = torch.frombuffer(buffer, dtype=stored) if buffer else torch.empty(0, dtype=stored)
    tensor = flat.reshape(entry.shape)
    return tensor if dtype is None else tensor.to(dtype)


def byte_view(tensor: torch.Tensor) -> memoryview:
    """The memory of a contiguous tensor as writable bytes."""
    return tensor.view(torch.uint8).numpy().data.cast("B")
