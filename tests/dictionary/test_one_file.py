"""Formats of one file: Qwen Scope, OpenAI, Goodfire, circuit-tracer, each equal to its forward pass."""

from __future__ import annotations

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
    N_FEATURES,
    TRUSTED,
    K,
    double,
    jump,
    largest,
    torch_save,
    transposed,
)


def test_qwen_scope(tmp_path: Path, weights: Any, agrees: Any) -> None:
    repository = tmp_path / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_3"
    t = {
        "W_enc": weights["enc"],
        "W_dec": transposed(weights["dec"]),
        "b_enc": weights["b_enc"],
        "b_dec": weights["b_dec"],
    }
    for layer in (4, 5):
        torch_save(repository / f"layer{layer}.sae.pt", t)
    with pytest.raises(DictionaryError, match=r"holds 2 dictionaries .*--path layer4\.sae\.pt"):
        open_dictionary(str(repository), facts=TRUSTED)
    with pytest.raises(DictionaryError, match=r"is a pickle.*--trust-pickle"):
        open_dictionary(str(repository), path="layer5.sae.pt")
    found = open_dictionary(str(repository), path="layer5.sae.pt", facts=TRUSTED)
    assert (found.format, found.k, found.hook_point) == ("qwen_scope", 3, HookPoint(5, "resid_post"))
    t = double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = largest(x @ t["W_enc"].T + t["b_enc"], 3)
        return f, f @ t["W_dec"].T + t["b_dec"]

    agrees(found, forward)
    (repository / "layer5.sae.pt").rename(tmp_path / "layer5.sae.pt")
    with pytest.raises(DictionaryError, match="alone says k"):
        open_dictionary(str(tmp_path / "layer5.sae.pt"), facts=TRUSTED)


@pytest.mark.parametrize("activation", ["ReLU", "TopK"])
def test_openai(tmp_path: Path, weights: Any, agrees: Any, activation: str) -> None:
    t = {
        "encoder.weight": weights["enc"],
        "decoder.weight": transposed(weights["dec"]),
        "pre_bias": weights["b_dec"],
        "latent_bias": weights["b_enc"],
    }
    state = {"activation_state_dict": {"k": K}} if activation == "TopK" else {}
    torch_save(tmp_path / "8.pt", {**t, "activation": activation, **state})
    found = open_dictionary(str(tmp_path / "8.pt"), facts=TRUSTED)
    assert (found.format, found.hook_point) == ("openai", None)
    t = double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
        inside = (x - mean) / (std + 1e-5) if activation == "TopK" else x
        h = (inside - t["pre_bias"]) @ t["encoder.weight"].T + t["latent_bias"]
        f = largest(h, K) if activation == "TopK" else np.maximum(h, 0)
        output = f @ t["decoder.weight"].T + t["pre_bias"]
        return f, output * std + mean if activation == "TopK" else output

    agrees(found, forward)
    torch_save(tmp_path / "8.pt", {**t, "activation": "Softmax"})
    with pytest.raises(DictionaryError, match="activation 'Softmax'"):
        open_dictionary(str(tmp_path / "8.pt"), facts=TRUSTED)


@pytest.mark.parametrize(
    ("file", "suffix", "model"),
    [
        ("Llama-3.1-8B-Instruct-SAE-l19.pth", "_linear", "meta-llama/Llama-3.1-8B-Instruct"),
        ("DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt", "", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"),
    ],
)
@pytest.mark.parametrize("as_folder", [True, False])
def test_goodfire(
    tmp_path: Path, weights: Any, agrees: Any, file: str, suffix: str, model: str, as_folder: bool
) -> None:
    t = {
        f"encoder{suffix}.weight": weights["enc"],
        f"encoder{suffix}.bias": weights["b_enc"],
        f"decoder{suffix}.weight": transposed(weights["dec"]),
        f"decoder{suffix}.bias": weights["b_dec"],
    }
    torch_save(tmp_path / file, t)
    found = open_dictionary(str(tmp_path if as_folder else tmp_path / file), facts=TRUSTED)
    assert (found.format, found.hook_point) == ("goodfire", HookPoint(19, "resid_post"))
    assert found.metadata["model_name"] == model
    enc, b_enc, dec, b_dec = (value.astype(np.float64) for value in t.values())

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = np.maximum(x @ enc.T + b_enc, 0)
        return f, f @ dec.T + b_dec

    agrees(found, forward)


@pytest.mark.parametrize("jumps", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_circuit_tracer(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, jumps: bool, turned: bool
) -> None:
    t = {
        "W_enc": weights["enc"],
        "b_enc": weights["b_enc"],
        "W_dec": transposed(weights["dec"]) if turned else weights["dec"],
        "b_dec": weights["b_dec"],
        "W_skip": draw(D_MODEL, D_MODEL),
    }
    if jumps:
        t["activation_function.threshold"] = np.abs(draw(N_FEATURES))
    for layer in (3, 12):
        save_file(t, tmp_path / f"layer_{layer}.safetensors")
    config = "model_name: {}\nmodel_kind: transcoder_set\nfeature_input_hook: mlp.hook_in\n"
    (tmp_path / "config.yaml").write_text(
        config.format("Qwen/Qwen3-4B") + "feature_output_hook: mlp.hook_out\n"
    )
    with pytest.raises(DictionaryError, match=r"holds 2 .*--path layer_12\.safetensors"):
        open_dictionary(str(tmp_path))
    found = open_dictionary(str(tmp_path), path="layer_12.safetensors")
    assert (found.format, found.hook_point, found.output_point) == (
        "circuit_tracer",
        HookPoint(12, "mlp_in"),
        HookPoint(12, "mlp_out"),
    )
    t = double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = jump(x @ t["W_enc"].T + t["b_enc"], t["activation_function.threshold"] if jumps else 0.0)
        return f, f @ (t["W_dec"].T if turned else t["W_dec"]) + t["b_dec"] + x @ t["W_skip"].T

    agrees(found, forward)
    (tmp_path / "layer_3.safetensors").unlink()
    (tmp_path / "config.yaml").write_text(
        config.format("google/gemma-3-1b-pt") + "feature_output_hook: mlp.hook_out"
    )
    assert open_dictionary(str(tmp_path)).output_point is None, "before the norm behind the MLP"
    (tmp_path / "config.yaml").unlink()
    assert open_dictionary(str(tmp_path)).hook_point is None
    (tmp_path / "config.yaml").write_text("[")
    with pytest.raises(DictionaryError, match=r"config\.yaml beside it cannot be read"):
        open_dictionary(str(tmp_path))
