"""Gemma Scope 1 and 2: places told by names or configuration, each equal to its own forward pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from surgery import open_dictionary
from surgery.dictionary.facts import Facts
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint
from tests.dictionary.plain import (
    D_MODEL,
    N_FEATURES,
    double,
    jump,
    transposed,
)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("lower", [False, True])
def test_gemma_scope_1(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, compressed: bool, lower: bool
) -> None:
    folder = tmp_path / "google" / "gemma-scope-2b-pt-res" / "layer_20/width_16k/average_l0_71"
    folder.mkdir(parents=True)
    t = _tensors(weights, draw)
    saved = {name.lower() if lower else name: value for name, value in t.items()}
    (np.savez_compressed if compressed else np.savez)(folder / "params.npz", **saved)
    found = open_dictionary(
        str(tmp_path / "google/gemma-scope-2b-pt-res"), path="layer_20/width_16k/average_l0_71"
    )
    assert (found.format, found.hook_point) == ("gemma_scope", HookPoint(20, "resid_post"))
    assert found.metadata["model_name"] == "google/gemma-2-2b"
    assert isinstance(found.W_dec, np.memmap) is not compressed
    t = double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = jump(x @ t["W_enc"] + t["b_enc"], t["threshold"])
        return f, f @ t["W_dec"] + t["b_dec"]

    agrees(found, forward)


def _tensors(weights: Any, draw: Any) -> dict[str, np.ndarray]:
    return {
        "W_enc": transposed(weights["enc"]),
        "W_dec": weights["dec"],
        "b_enc": weights["b_enc"],
        "b_dec": weights["b_dec"],
        "threshold": np.abs(draw(N_FEATURES)),
    }


def _npz(folder: Path, weights: Any, draw: Any) -> dict[str, np.ndarray]:
    """Version 1's one file, and its tensors in float64."""
    folder.mkdir(parents=True)
    held = _tensors(weights, draw)
    np.savez(folder / "params.npz", **held)
    return double(held)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_archive_is_named(tmp_path: Path, weights: Any, draw: Any, compressed: bool) -> None:
    file = tmp_path / "params.npz"
    (np.savez_compressed if compressed else np.savez)(file, **_tensors(weights, draw))
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        file.write_bytes(damaged)
        try:
            open_dictionary(str(tmp_path))
        except DictionaryError as error:
            refused += "params.npz" in str(error)
    assert refused > 50


@pytest.mark.parametrize(
    ("place", "reads", "writes"),
    [
        ("gemma-scope-2b-pt-mlp/layer_3/width_16k/average_l0_9", HookPoint(3, "mlp_out"), None),
        ("gemma-scope-2b-pt-att/layer_3/width_16k/average_l0_9", None, None),
        ("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6", HookPoint(0, "resid_pre"), None),
        (
            "gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_5",
            HookPoint(3, "mlp_normalized"),
            HookPoint(3, "mlp_out"),
        ),
        ("somewhere/else", None, None),
    ],
)
def test_gemma_scope_1_says_its_place_in_its_names(
    tmp_path: Path, weights: Any, draw: Any, place: str, reads: HookPoint | None, writes: HookPoint | None
) -> None:
    _npz(tmp_path / place, weights, draw)
    found = open_dictionary(str(tmp_path / place))
    assert (found.hook_point, found.output_point) == (reads, writes)
    assert found.is_transcoder is (writes is not None)
    said = open_dictionary(str(tmp_path / place), facts=Facts(hook_point=HookPoint(7, "resid_pre")))
    assert said.hook_point == HookPoint(7, "resid_pre")


def test_gemma_scope_1_learnt_the_embedding_before_the_model_scales_it(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any
) -> None:
    folder = tmp_path / "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6"
    t = _npz(folder, weights, draw)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = jump(x / np.sqrt(D_MODEL) @ t["W_enc"] + t["b_enc"], t["threshold"])
        return f, (f @ t["W_dec"] + t["b_dec"]) * np.sqrt(D_MODEL)

    agrees(open_dictionary(str(folder)), forward)


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("kind", ["resid_post", "transcoder_all"])
def test_gemma_scope_2(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, kind: str, configured: bool
) -> None:
    """A folder laid out as google/gemma-scope-2-1b-pt, some of whose folders have no config.json."""
    affine = kind == "transcoder_all"
    folder = tmp_path / f"gemma-scope-2-1b-pt/{kind}/layer_9_width_16k_l0_small{'_affine' * affine}"
    folder.mkdir(parents=True)
    t = {name.lower(): value for name, value in _tensors(weights, draw).items()}
    point = "model.layers.9.pre_feedforward_layernorm.output" if affine else "model.layers.9.output"
    config = {
        "hf_hook_point_in": point,
        "hf_hook_point_out": point.replace("pre_", "post_"),
        "width": N_FEATURES,
        "model_name": "google/gemma-3-1b-pt",
        "architecture": "jump_relu",
        "l0": 4,
        "affine_connection": affine,
        "type": "transcoder" if affine else "sae",
    }
    if affine:
        t["affine_skip_connection"] = draw(D_MODEL, D_MODEL)
    save_file(t, folder / "params.safetensors")
    if configured:
        (folder / "config.json").write_text(json.dumps(config))
    found = open_dictionary(str(folder))
    expected = (
        (HookPoint(9, "mlp_in"), HookPoint(9, "mlp_out")) if affine else (HookPoint(9, "resid_post"), None)
    )
    assert (found.hook_point, found.output_point, found.is_transcoder) == (*expected, affine)
    assert found.metadata["model_name"] == "google/gemma-3-1b-pt"
    t = double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = jump(x @ t["w_enc"] + t["b_enc"], t["threshold"])
        output = f @ t["w_dec"] + t["b_dec"]
        return f, output + x @ t["affine_skip_connection"] if affine else output

    agrees(found, forward)
    t["w_dec"] = np.zeros((N_FEATURES, 2, D_MODEL))
    save_file({name: value.astype(np.float32) for name, value in t.items()}, folder / "params.safetensors")
    with pytest.raises(DictionaryError, match="cross-layer transcoder"):
        open_dictionary(str(folder))


def test_gemma_scope_2_without_configuration_and_telling_names_asks_for_it(
    tmp_path: Path, weights: Any
) -> None:
    save_file({"w_enc": weights["enc"]}, tmp_path / "params.safetensors")
    with pytest.raises(DictionaryError, match=r"no config\.json there.*download the configuration"):
        open_dictionary(str(tmp_path))
