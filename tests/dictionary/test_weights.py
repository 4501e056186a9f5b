"""A large dictionary opens without being read."""

from __future__ import annotations

import json
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from surgery import open_dictionary
from surgery.dictionary.weights import open_weights
from surgery.errors import DictionaryError

D_MODEL, N_FEATURES = 1536, 50_000


def _sparse_file(folder: Path) -> None:
    """600 MB of zeros that take no room on the disk, with a header and two rows that are not zero."""
    shapes = {
        "W_enc": [D_MODEL, N_FEATURES],
        "W_dec": [N_FEATURES, D_MODEL],
        "b_dec": [D_MODEL],
        "b_enc": [N_FEATURES],
    }
    table, at = {}, 0
    for name, shape in shapes.items():
        end = at + 4 * int(np.prod(shape))
        table[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, end]}
        at = end
    head = json.dumps(table).encode()
    with (folder / "sae_weights.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        base = file.tell()
        file.truncate(base + at)
        for row in (7, 40_000):
            file.seek(base + table["W_dec"]["data_offsets"][0] + row * 4 * D_MODEL)
            file.write(np.full(D_MODEL, 2.0, "<f4").tobytes())
    (folder / "cfg.json").write_text(json.dumps({"architecture": "standard", "metadata": {}}))


def test_opening_reads_headers_and_two_rows_read_two_rows(tmp_path: Path) -> None:
    _sparse_file(tmp_path)
    scale = 1 if sys.platform == "darwin" else 1024
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale, time.perf_counter()
    dictionary = open_dictionary(str(tmp_path))
    rows = dictionary.W_dec[[7, 40_000]]
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale - before
    assert rows.tolist() == [[2.0] * D_MODEL] * 2
    assert grown < 100e6
    assert seconds < 5.0  # 0.05 is the aim on an idle machine; the benchmark holds it


def test_other_precisions_are_converted(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    values = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    held = {"half": values.half(), "brain": values.bfloat16(), "double": values.double(), "one": values.sum()}
    save_file(held, tmp_path / "w.safetensors")
    file = open_weights(tmp_path / "w.safetensors", "w")
    for name, tensor in held.items():
        assert file.array(name).dtype == np.float32
        np.testing.assert_array_equal(file.array(name), tensor.float().numpy())
    save_file({"q": values.to(torch.int8)}, tmp_path / "w.safetensors")
    with pytest.raises(DictionaryError, match="stored as I8"):
        open_weights(tmp_path / "w.safetensors", "w").array("q")
    with pytest.raises(DictionaryError, match=r"no \.safetensors, \.npz or \.pt file"):
        open_weights(Path(__file__), "w")
