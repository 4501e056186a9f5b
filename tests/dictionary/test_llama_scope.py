"""Llama Scope: equal to the weights that its publishers' loader rewrites, and the R1 variant."""

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
    N_FEATURES,
    double,
    jump,
    linear,
)

_LLAMA_SCOPE = {
    "device": "cuda:0",
    "seed": 42,
    "dtype": "torch.bfloat16",
    "hook_point_in": "blocks.15.hook_resid_post",
    "hook_point_out": "blocks.15.hook_resid_post",
    "use_decoder_bias": True,
    "apply_decoder_bias_to_pre_encoder": False,
    "expansion_factor": 2,
    "d_model": D_MODEL,
    "d_sae": N_FEATURES,
    "act_fn": "jumprelu",
    "jump_relu_threshold": 0.4,
    "norm_activation": "dataset-wise",
    "dataset_average_activation_norm": {"in": 5.0, "out": 5.0},
    "decoder_exactly_fixed_norm": False,
    "sparsity_include_decoder_norm": True,
    "use_glu_encoder": False,
    "top_k": 50,
}
"""The keys of a published hyperparams.json that say anything about inference, and some that do not."""


def _llama_scope(folder: Path, weights: Any, **changed: Any) -> dict[str, np.ndarray]:
    t = {**linear(weights), "decoder.bias": weights["b_dec"]}
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    save_file(t, folder / "checkpoints/final.safetensors")
    (folder / "hyperparams.json").write_text(json.dumps(_LLAMA_SCOPE | changed))
    return double(t)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("transcoder", [False, True])
def test_llama_scope(tmp_path: Path, weights: Any, agrees: Any, include: bool, transcoder: bool) -> None:
    """The reference rewrites the weights step by step, as the publishers' loader does, and then encodes."""
    changed: dict[str, Any] = {"sparsity_include_decoder_norm": include}
    if transcoder:
        changed |= {
            "hook_point_in": "blocks.15.ln2.hook_normalized",
            "hook_point_out": "blocks.15.hook_mlp_out",
            "dataset_average_activation_norm": {"in": 5.0, "out": 2.0},
        }
    t = _llama_scope(tmp_path / "L15", weights, **changed)
    found = open_dictionary(str(tmp_path / "L15"))
    reads = HookPoint(15, "mlp_normalized" if transcoder else "resid_post")
    writes = HookPoint(15, "mlp_out") if transcoder else None
    assert (found.format, found.hook_point, found.output_point) == ("llama_scope", reads, writes)
    s, out = np.sqrt(D_MODEL) / 5.0, np.sqrt(D_MODEL) / (2.0 if transcoder else 5.0)
    enc, b_enc = t["encoder.weight"], t["encoder.bias"] / s
    dec, b_dec = t["decoder.weight"] * s / out, t["decoder.bias"] / out
    if include:
        norms = np.linalg.norm(dec, axis=0)
        enc, b_enc, dec = enc * norms[:, None], b_enc * norms, dec / norms

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = jump(x @ enc.T + b_enc, 0.4)
        return f, f @ dec.T + b_dec

    agrees(found, forward)


def test_llama_scope_r1_keeps_its_norm_among_the_tensors(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any
) -> None:
    place = "blocks.10.hook_resid_post"
    held = {
        **linear(weights),
        "decoder.bias": weights["b_dec"],
        "log_jumprelu_threshold": draw(N_FEATURES),
        f"dataset_average_activation_norm.{place}": np.asarray(5.0, np.float32),
    }
    config = {
        "sae_type": "sae",
        "hook_point_in": place,
        "hook_point_out": place,
        "d_model": D_MODEL,
        "expansion_factor": 2,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.0,
        "norm_activation": "dataset-wise",
        "sparsity_include_decoder_norm": False,
    }
    save_file(held, tmp_path / "sae_weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = open_dictionary(str(tmp_path))
    assert (found.format, found.hook_point) == ("llama_scope", HookPoint(10, "resid_post"))
    t, s = double(held), np.sqrt(D_MODEL) / 5.0

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pre = s * x @ t["encoder.weight"].T + t["encoder.bias"]
        f = jump(pre, np.exp(t["log_jumprelu_threshold"]))
        return f, (f @ t["decoder.weight"].T + t["decoder.bias"]) / s

    agrees(found, forward)
    (tmp_path / "config.json").write_text(json.dumps(config | {"sparsity_include_decoder_norm": True}))
    norms = np.linalg.norm(t["decoder.weight"], axis=0)

    def weighed(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pre = s * x @ t["encoder.weight"].T + t["encoder.bias"]
        f = np.where(pre * norms > np.exp(t["log_jumprelu_threshold"]), pre, 0.0)
        return f, (f @ t["decoder.weight"].T + t["decoder.bias"]) / s

    agrees(open_dictionary(str(tmp_path)), weighed)
    del held[f"dataset_average_activation_norm.{place}"]
    save_file(held, tmp_path / "sae_weights.safetensors")
    with pytest.raises(DictionaryError, match="--input-norm"):
        open_dictionary(str(tmp_path))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"use_glu_encoder": True}, "use_glu_encoder is True"),
        ({"apply_decoder_bias_to_pre_encoder": True}, "apply_decoder_bias_to_pre_encoder is True"),
        ({"norm_activation": "token-wise"}, "'token-wise'; read are 'dataset-wise'"),
        ({"act_fn": "topk"}, "act_fn 'jumprelu'"),
        ({"dataset_average_activation_norm": None}, "--input-norm"),
        (
            {"hook_point_out": "blocks.15.hook_mlp_out", "dataset_average_activation_norm": {"in": 5.0}},
            r"dataset_average_activation_norm\.out",
        ),
    ],
)
def test_llama_scope_with_another_forward_pass_is_refused(
    tmp_path: Path, weights: Any, changed: dict[str, Any], message: str
) -> None:
    _llama_scope(tmp_path, weights, **changed)
    with pytest.raises(DictionaryError, match=message):
        open_dictionary(str(tmp_path))
