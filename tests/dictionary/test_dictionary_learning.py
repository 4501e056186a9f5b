"""dictionary_learning's seven classes, each equal to its own forward pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surgery import open_dictionary
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint
from tests.dictionary.plain import (
    D_MODEL,
    N_FEATURES,
    TRUSTED,
    Forward,
    K,
    double,
    jump,
    largest,
    linear,
    torch_save,
    transposed,
)


def _learnt(kind: str, weights: Any, draw: Any) -> tuple[dict[str, Any], Forward]:
    """Tensors and forward pass of one class of dictionary_learning."""
    enc, dec, b, c = (double(weights)[name] for name in ("enc", "dec", "b_enc", "b_dec"))
    threshold = np.asarray(0.5, np.float32)

    def out(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return f, f @ dec + c

    if kind == "GatedAutoEncoder":
        extra = {name: draw(N_FEATURES, scale=0.5) for name in ("r_mag", "gate_bias", "mag_bias")}
        r, gate, magnitude = (double(extra)[name] for name in ("r_mag", "gate_bias", "mag_bias"))
        held = {k: v for k, v in linear(weights).items() if k != "encoder.bias"}

        def gated(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            z = (x - c) @ enc.T
            return out((z + gate > 0) * np.maximum(np.exp(r) * z + magnitude, 0))

        return held | extra | {"decoder_bias": weights["b_dec"]}, gated
    if kind in ("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder"):
        held = {"W_enc": transposed(weights["enc"]), "W_dec": weights["dec"], "b_enc": weights["b_enc"]}
        held |= {"b_dec": weights["b_dec"], "threshold": threshold}
        if kind == "JumpReluAutoEncoder":
            held["threshold"] = np.abs(draw(N_FEATURES))
            each = held["threshold"].astype(np.float64)
            return held, lambda x: out(jump(x @ enc.T + b, each))
        return held, lambda x: out(jump((x - c) @ enc.T + b, 0.5))
    bias = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(kind, "b_dec")
    held = linear(weights) | {bias: weights["b_dec"]}
    if kind == "AutoEncoderTopK":
        held |= {"k": np.asarray(K), "threshold": np.asarray(-1.0, np.float32)}
        return held, lambda x: out(largest((x - c) @ enc.T + b, K))
    if kind == "BatchTopKSAE":
        held |= {"k": np.asarray(K), "threshold": threshold}
        return held, lambda x: out(jump((x - c) @ enc.T + b, 0.5))
    shift = 0.0 if kind == "AutoEncoderNew" else c
    return held, lambda x: out(np.maximum((x - shift) @ enc.T + b, 0))


@pytest.mark.parametrize(
    "kind",
    [
        "AutoEncoder",
        "AutoEncoderNew",
        "GatedAutoEncoder",
        "AutoEncoderTopK",
        "BatchTopKSAE",
        "MatryoshkaBatchTopKSAE",
        "JumpReluAutoEncoder",
    ],
)
def test_dictionary_learning(tmp_path: Path, weights: Any, draw: Any, agrees: Any, kind: str) -> None:
    tensors, forward = _learnt(kind, weights, draw)
    torch_save(tmp_path / "ae.pt", tensors)
    trainer = {
        "dict_class": kind,
        "layer": 8,
        "submodule_name": "resid_post_layer_8",
        "lm_name": "google/gemma-2-2b",
    }
    buffer = {"d_submodule": D_MODEL, "io": "out", "ctx_len": 128}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": buffer}))
    with pytest.raises(DictionaryError, match="is a pickle"):
        open_dictionary(str(tmp_path))
    found = open_dictionary(str(tmp_path), facts=TRUSTED)
    assert (found.format, found.hook_point) == ("dictionary_learning", HookPoint(8, "resid_post"))
    assert found.metadata["model_name"] == "google/gemma-2-2b"
    agrees(found, forward)
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": buffer | {"io": "in"}}))
    assert open_dictionary(str(tmp_path), facts=TRUSTED).hook_point is None


def test_a_threshold_that_was_never_set_is_refused(tmp_path: Path, weights: Any, draw: Any) -> None:
    tensors, _ = _learnt("BatchTopKSAE", weights, draw)
    torch_save(tmp_path / "ae.pt", tensors | {"threshold": np.asarray(-1.0, np.float32)})
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "BatchTopKSAE"}}))
    with pytest.raises(DictionaryError, match="never set it"):
        open_dictionary(str(tmp_path), facts=TRUSTED)
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "IdentityDict"}}))
    with pytest.raises(DictionaryError, match=r"dict_class is 'IdentityDict'.*AutoEncoder, "):
        open_dictionary(str(tmp_path), facts=TRUSTED)
