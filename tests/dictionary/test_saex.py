"""The seed's own files: four cases told apart by their contents, each equal to saex' forward pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from surgery import open_dictionary
from surgery.dictionary.facts import Facts
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint

D_MODEL, N_FEATURES = 6, 12
MEAN, TARGET = np.float32(7.5), np.float32(4.25)


def _save(
    folder: Path, weights: Mapping[str, np.ndarray], draw: Any, *, gated: bool, normed: bool
) -> dict[str, Any]:
    folder.mkdir(parents=True)
    tensors = {
        "W_enc": np.ascontiguousarray(weights["enc"].T),
        "b_enc": weights["b_enc"],
        "scaling_factor": np.abs(draw(N_FEATURES)) + np.float32(0.5),
        "W_dec": weights["dec"],
        "b_dec": weights["b_dec"],
        "s_gate": draw(N_FEATURES) if gated else np.zeros(N_FEATURES, np.float32),
        "b_gate": draw(N_FEATURES) if gated else np.zeros(N_FEATURES, np.float32),
    }
    if normed:
        tensors |= {"mean_norm": np.asarray(MEAN), "tgt_mean_norm": np.asarray(TARGET)}
    save_file(tensors, folder / "sae_weights.safetensors")
    cfg = {
        "d_in": D_MODEL,
        "d_sae": N_FEATURES,
        "expansion_factor": 32,
        "dtype": "float32",
        "l1_coefficient": 1e-5,
    }
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return tensors


def _forward(t: dict[str, Any], x: np.ndarray, *, gated: bool, normed: bool) -> tuple[np.ndarray, np.ndarray]:
    """saex' encode and forward, as its source writes them, in float64."""
    t = {name: np.asarray(value, dtype=np.float64) for name, value in t.items()}
    a = np.sqrt(D_MODEL) / t["mean_norm"] if normed else 1.0
    pi = (x * a) @ t["W_enc"] + t["b_enc"]
    if gated:
        magnitude = (x * a) @ t["W_enc"] * np.log1p(np.exp(t["s_gate"])) * t["scaling_factor"] + t["b_gate"]
        h = (np.maximum(pi, 0) > 0) * np.maximum(magnitude, 0)
    else:
        h = np.maximum(pi, 0) * t["scaling_factor"]
    return h, (h @ t["W_dec"] + t["b_dec"]) / (np.sqrt(D_MODEL) / t["tgt_mean_norm"] if normed else 1.0)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("normed", [False, True])
def test_the_four_cases_are_exact(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, gated: bool, normed: bool
) -> None:
    folder = tmp_path / "l16-test-run-6-1.20E-05"
    tensors = _save(folder, weights, draw, gated=gated, normed=normed)
    dictionary = open_dictionary(str(folder))
    assert dictionary.format == "saex"
    assert dictionary.architecture == ("gated" if gated else "standard")
    assert dictionary.hook_point == HookPoint(16, "resid_pre")
    agrees(dictionary, lambda x: _forward(tensors, x, gated=gated, normed=normed))


def test_the_encoder_says_the_same_as_the_published_conversion(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any
) -> None:
    """SAELens' gated form of the same file: W_enc a, b_gate = b_enc, r_mag = log(softplus(s_gate) s)."""
    tensors = _save(tmp_path / "x", weights, draw, gated=True, normed=True)
    t = {name: np.asarray(value, dtype=np.float64) for name, value in tensors.items()}
    a, c = np.sqrt(D_MODEL) / t["mean_norm"], t["tgt_mean_norm"] / np.sqrt(D_MODEL)
    r_mag = np.log(np.log1p(np.exp(t["s_gate"])) * t["scaling_factor"])

    def saelens(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        W = a * t["W_enc"]
        f = (x @ W + t["b_enc"] > 0) * np.maximum(x @ (W * np.exp(r_mag)) + t["b_gate"], 0)
        return f, f @ (c * t["W_dec"]) + c * t["b_dec"]

    agrees(open_dictionary(str(tmp_path / "x")), saelens)


@pytest.mark.parametrize(
    ("folder", "point"),
    [
        ("nev/phi/l16-test-run-6-1.20E-05", HookPoint(16, "resid_pre")),
        ("it-l12-residual-test-run-1-3.00E-05", HookPoint(12, "resid_pre")),
        ("it-l12-attn_out-test-run-0-1.00E-05", HookPoint(12, "attn_out")),
        ("somewhere", None),
    ],
)
def test_the_folder_names_the_hook_point(
    tmp_path: Path, weights: Any, draw: Any, folder: str, point: HookPoint | None
) -> None:
    _save(tmp_path / folder, weights, draw, gated=False, normed=False)
    assert open_dictionary(str(tmp_path / folder)).hook_point == point


def test_a_transcoder_reads_what_the_mlp_reads_and_writes_what_it_writes(
    tmp_path: Path, weights: Any, draw: Any
) -> None:
    _save(tmp_path / "it-l12-transcoder-test-run-0-1.00E-05", weights, draw, gated=False, normed=False)
    found = open_dictionary(str(tmp_path / "it-l12-transcoder-test-run-0-1.00E-05"))
    assert (found.is_transcoder, found.hook_point, found.output_point) == (
        True,
        HookPoint(12, "mlp_in"),
        HookPoint(12, "mlp_out"),
    )


def test_the_user_s_word_on_the_norm_counts(tmp_path: Path, weights: Any, draw: Any, agrees: Any) -> None:
    tensors = _save(tmp_path / "x", weights, draw, gated=False, normed=True)
    agrees(
        open_dictionary(str(tmp_path / "x"), facts=Facts(input_norm=0)),
        lambda x: _forward(tensors, x, gated=False, normed=False),
    )
    said = {**tensors, "mean_norm": 5.0}
    agrees(
        open_dictionary(str(tmp_path / "x"), facts=Facts(input_norm=5.0)),
        lambda x: _forward(said, x, gated=False, normed=True),
    )


def test_a_scale_that_is_not_positive_is_refused(tmp_path: Path, weights: Any, draw: Any) -> None:
    tensors = _save(tmp_path / "x", weights, draw, gated=False, normed=False)
    tensors["scaling_factor"][2] = -1.0
    save_file(tensors, tmp_path / "x" / "sae_weights.safetensors")
    with pytest.raises(DictionaryError, match="not above 0 for 1 of 12 features"):
        open_dictionary(str(tmp_path / "x"))
