"""Small safetensors files and checkpoint folders, written by hand so that they can also be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TABLE = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}
BODY = bytes(range(32))


def pack(table: Any, body: bytes = BODY, *, length: int | None = None) -> bytes:
    """A file's bytes from its header (an object, or the JSON text itself) and buffer."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def write_index(folder: Path, table: Any, **more: Any) -> None:
    """Write a folder's index with this weight_map."""
    text = json.dumps({"metadata": {"total_size": 16}, "weight_map": table, **more})
    (folder / "model.safetensors.index.json").write_text(text)
