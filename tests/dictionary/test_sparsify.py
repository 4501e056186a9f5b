"""EleutherAI sparsify: equal to its own forward pass, written here from its description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from surgery import open_dictionary
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint
from tests.dictionary.plain import (
    D_MODEL,
    K,
    double,
    largest,
)


@pytest.mark.parametrize("activation", ["topk", "groupmax"])
@pytest.mark.parametrize("transcode", [False, True])
def test_sparsify(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, activation: str, transcode: bool
) -> None:
    folder = tmp_path / ("layers.10.mlp" if transcode else "layers.10")
    folder.mkdir()
    t = {
        "encoder.weight": weights["enc"],
        "encoder.bias": weights["b_enc"],
        "W_dec": weights["dec"],
        "b_dec": weights["b_dec"],
    }
    if transcode:
        t["W_skip"] = draw(D_MODEL, D_MODEL)
    save_file(t, folder / "sae.safetensors")
    cfg = {"activation": activation, "num_latents": 0, "expansion_factor": 2, "k": K, "d_in": D_MODEL}
    cfg |= {"normalize_decoder": True, "signed": False, "multi_topk": False}
    if activation == "topk":
        del cfg["activation"]  # older files have none
    (folder / "cfg.json").write_text(json.dumps(cfg | {"transcode": transcode, "skip_connection": transcode}))
    found = open_dictionary(str(folder))
    places = (
        (HookPoint(10, "mlp_in"), HookPoint(10, "mlp_out"))
        if transcode
        else (HookPoint(10, "resid_post"), None)
    )
    assert (found.format, found.n_features, found.hook_point, found.output_point) == ("sparsify", 12, *places)
    t = double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = np.maximum((x if transcode else x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"], 0)
        if activation == "topk":
            f = largest(h, K)
        else:
            groups = h.reshape(len(h), K, -1)
            f = (groups * (groups == groups.max(axis=2, keepdims=True))).reshape(h.shape)
        output = f @ t["W_dec"] + t["b_dec"]
        return f, output + x @ t["W_skip"].T if transcode else output

    agrees(found, forward)
    (folder / "cfg.json").write_text(json.dumps({name: value for name, value in cfg.items() if name != "k"}))
    with pytest.raises(DictionaryError, match="--k 32"):
        open_dictionary(str(folder))
    (folder / "cfg.json").write_text(json.dumps(cfg | {"signed": True}))
    with pytest.raises(DictionaryError, match="signed codes"):
        open_dictionary(str(folder))
