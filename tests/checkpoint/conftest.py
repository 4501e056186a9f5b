"""Fixtures: single files and small checkpoint folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoint.checkpoint_files import BODY, TABLE, pack, write_index


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes `pack(…)` to a file and gives its path."""

    def make(
        table: Any = TABLE, body: bytes = BODY, *, length: int | None = None, name: str = "x.safetensors"
    ) -> Path:
        path = tmp_path / name
        path.write_bytes(pack(table, body, length=length))
        return path

    return make


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A checkpoint of two shards with an index."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    (folder / "one.safetensors").write_bytes(pack({"a": entry}, b"\1" * 8))
    (folder / "two.safetensors").write_bytes(pack({"b": entry}, b"\2" * 8))
    write_index(folder, {"a": "one.safetensors", "b": "two.safetensors"})
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """A checkpoint of one file."""
    folder = tmp_path / "single"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(pack(TABLE))
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder
