"""A plain writer of GGUF files for the tests, after the format's specification."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

KINDS = {"F32": 0, "F16": 1, "Q8_0": 8, "Q4_K": 12}


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def encode(values: np.ndarray, kind: str) -> bytes:
    """The bytes of a tensor; Q8_0 rounds blocks of 32 to whole multiples of a float16 scale."""
    if kind == "F32":
        return values.astype("<f4").tobytes()
    if kind == "F16":
        return values.astype("<f2").tobytes()
    blocks = values.reshape(-1, 32)
    scale = (np.abs(blocks).max(1) / 127).astype("<f2")
    whole = np.round(blocks / np.maximum(scale.astype(np.float32), 1e-8)[:, None]).astype("i1")
    return b"".join(s.tobytes() + w.tobytes() for s, w in zip(scale, whole, strict=True))


def write_gguf(
    path: Path, tensors: Mapping[str, np.ndarray], kind: str = "F16", *, architecture: str = "llama"
) -> Path:
    """Write a file of version 3 with an array among its keys."""
    keys = _text("general.architecture") + struct.pack("<I", 8) + _text(architecture)
    keys += _text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + _text("a") + _text("b")
    table, data = b"", b""
    for name, values in tensors.items():
        data += b"\0" * (-len(data) % 32)
        shape = tuple(reversed(values.shape))
        table += _text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        table += struct.pack("<IQ", KINDS[kind], len(data))
        data += encode(values, "F32" if kind == "Q4_K" else kind)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 2) + keys + table
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path
