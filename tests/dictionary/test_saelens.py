"""SAELens' architectures and its older flat configuration, each equal to the formula in its documentation."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surgery import open_dictionary
from surgery.dictionary.facts import Facts
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint
from tests.dictionary.plain import D_MODEL, N_FEATURES, Forward, largest
from tests.dictionary.saelens_folder import Tensors, save, tensors_of


def _reference(architecture: str, tensors: Tensors, k: int, subtract: bool) -> Forward:
    t = {name: value.astype(np.float64) for name, value in tensors.items()}

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = x - t["b_dec"] if subtract else x
        if architecture == "gated":
            opened = inside @ t["W_enc"] + t["b_gate"] > 0
            f = opened * np.maximum(inside @ (t["W_enc"] * np.exp(t["r_mag"])) + t["b_mag"], 0)
        else:
            h = inside @ t["W_enc"] + t["b_enc"]
            f = np.maximum(h, 0)
            if "threshold" in t:
                f = f * (h > t["threshold"])
            if architecture == "topk":
                f = largest(h, k)
        output = f @ t["W_dec"] + t["b_dec"]
        return f, output + x @ t["W_skip"].T if "W_skip" in t else output

    return forward


@pytest.mark.parametrize("subtract", [True, False])
@pytest.mark.parametrize(
    "architecture", ["standard", "gated", "jumprelu", "topk", "batchtopk", "matryoshka_batchtopk"]
)
def test_autoencoders(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, architecture: str, subtract: bool
) -> None:
    tensors = tensors_of(weights, draw, architecture)
    folder = save(tmp_path / "sae", tensors, architecture=architecture, k=3, apply_b_dec_to_input=subtract)
    dictionary = open_dictionary(str(folder))
    assert (dictionary.format, dictionary.hook_point) == ("saelens", HookPoint(3, "resid_post"))
    agrees(dictionary, _reference(architecture, tensors, 3, subtract))


@pytest.mark.parametrize(
    "architecture", ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"]
)
def test_transcoders(tmp_path: Path, weights: Any, draw: Any, agrees: Any, architecture: str) -> None:
    tensors = tensors_of(weights, draw, architecture)
    metadata = {"hook_name": "blocks.3.hook_mlp_in", "hook_name_out": "blocks.3.hook_mlp_out"}
    folder = save(
        tmp_path / "t", tensors, architecture=architecture, apply_b_dec_to_input=False, metadata=metadata
    )
    found = open_dictionary(str(folder))
    assert (found.is_transcoder, found.hook_point, found.output_point) == (
        True,
        HookPoint(3, "resid_mid"),
        HookPoint(3, "mlp_out"),
    )
    agrees(found, _reference(architecture, tensors, 0, False))
    metadata |= {"hf_hook_name": "model.layers.3.pre_feedforward_layernorm.output"}
    folder = save(tmp_path / "g", tensors, architecture=architecture, metadata=metadata)
    assert open_dictionary(str(folder)).hook_point == HookPoint(3, "mlp_in")


def test_top_k_over_rescaled_codes(tmp_path: Path, weights: Any, draw: Any, agrees: Any) -> None:
    tensors = tensors_of(weights, draw, "topk")
    folder = save(tmp_path / "sae", tensors, architecture="topk", k=3, rescale_acts_by_decoder_norm=True)
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    norms = np.linalg.norm(t["W_dec"], axis=1)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = largest(((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]) * norms, 3)
        return f, f / norms @ t["W_dec"] + t["b_dec"]

    agrees(open_dictionary(str(folder)), forward)


@pytest.mark.parametrize("how", ["layer_norm", "constant_norm_rescale"])
def test_what_is_normalised_token_by_token_is_undone(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, how: str
) -> None:
    tensors = tensors_of(weights, draw, "standard")
    folder = save(tmp_path / "sae", tensors, architecture="standard", normalize_activations=how)
    inner = _reference("standard", tensors, 0, True)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if how == "layer_norm":
            mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
            codes, y = inner((x - mean) / (std + 1e-5))
            return codes, y * std + mean
        factor = np.sqrt(D_MODEL) / np.linalg.norm(x, axis=1, keepdims=True)
        codes, y = inner(x * factor)
        return codes, y / factor

    agrees(open_dictionary(str(folder)), forward)


@pytest.mark.parametrize("architecture", ["standard", "gated", "jumprelu"])
@pytest.mark.parametrize("from_file", [True, False])
def test_the_expected_norm_is_folded(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, architecture: str, from_file: bool
) -> None:
    tensors = tensors_of(weights, draw, architecture)
    folder = save(
        tmp_path / "sae", tensors, architecture=architecture, normalize_activations="expected_average_only_in"
    )
    with pytest.raises(DictionaryError, match=r"--input-norm 31\.2"):
        open_dictionary(str(folder))
    scale = np.sqrt(D_MODEL) / 9.0
    if from_file:
        (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": scale}))
    inner = _reference(architecture, tensors, 0, True)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes, output = inner(x * scale)
        return codes, output / scale

    agrees(open_dictionary(str(folder), facts=Facts() if from_file else Facts(input_norm=9.0)), forward)


def test_the_flat_configuration_of_version_5(tmp_path: Path, weights: Any, draw: Any, agrees: Any) -> None:
    tensors = tensors_of(weights, draw, "topk")
    folder = save(tmp_path / "sae", tensors)
    flat = {
        "hook_point": "blocks.8.hook_resid_pre",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 4},
        "normalize_activations": False,
        "model_name": "gpt2-small",
    }
    (folder / "cfg.json").write_text(json.dumps(flat))
    found = open_dictionary(str(folder))
    assert (found.hook_point, found.k, found.metadata["model_name"]) == (
        HookPoint(8, "resid_pre"),
        4,
        "gpt2-small",
    )
    agrees(found, _reference("topk", tensors, 4, True))


_OLD = {
    "model_name": "gpt2-small",
    "hook_point": "blocks.0.hook_resid_pre",
    "hook_point_layer": 0,
    "hook_point_head_index": None,
    "context_size": 128,
    "d_in": D_MODEL,
    "dtype": "torch.float32",
    "expansion_factor": 2,
    "b_dec_init_method": "mean",
}
_FOUR = {
    "architecture": "gated",
    "d_in": D_MODEL,
    "d_sae": N_FEATURES,
    "dtype": "float32",
    "model_name": "tiny-stories-1L-21M",
    "hook_name": "blocks.0.hook_mlp_out",
    "hook_layer": 0,
    "hook_head_index": None,
    "activation_fn_str": "relu",
    "activation_fn_kwargs": {},
    "apply_b_dec_to_input": False,
    "finetuning_scaling_factor": False,
    "sae_lens_training_version": "4.4.5",
    "normalize_activations": "none",
    "model_from_pretrained_kwargs": {"center_writing_weights": False},
    "seqpos_slice": [None],
    "scale_sparsity_penalty_by_decoder_norm": True,
}


@pytest.mark.parametrize(
    ("config", "architecture", "place", "subtract"),
    [
        (_OLD, "standard", HookPoint(0, "resid_pre"), True),
        (_FOUR, "gated", HookPoint(0, "mlp_out"), False),
    ],
)
def test_configurations_as_they_are_published(
    tmp_path: Path,
    weights: Any,
    draw: Any,
    agrees: Any,
    config: dict[str, Any],
    architecture: str,
    place: HookPoint,
    subtract: bool,
) -> None:
    tensors = tensors_of(weights, draw, architecture)
    folder = save(tmp_path / "sae", tensors)
    (folder / "cfg.json").write_text(json.dumps(config))
    found = open_dictionary(str(folder))
    assert (found.hook_point, found.metadata["model_name"]) == (place, config["model_name"])
    agrees(found, _reference(architecture, tensors, 0, subtract))


def test_what_only_the_registry_says_of_a_release_is_known(tmp_path: Path, weights: Any, draw: Any) -> None:
    tensors = tensors_of(weights, draw, "standard")
    for release in ("jbloom/GPT2-Small-SAEs-Reformatted", "JoshEngels/Mistral-7B-Residual-Stream-SAEs"):
        (save(tmp_path / release / "sae", tensors) / "cfg.json").write_text(json.dumps(_OLD))
    centred = open_dictionary(str(tmp_path / "jbloom/GPT2-Small-SAEs-Reformatted/sae"))
    assert centred.metadata["model_from_pretrained_kwargs"] == {"center_writing_weights": True}
    normed = open_dictionary(str(tmp_path / "JoshEngels/Mistral-7B-Residual-Stream-SAEs"), path="sae")
    assert (centred.normalization, normed.normalization) == ("none", "constant_norm")


def test_a_finetuning_factor_scales_the_decoder_or_is_refused(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any
) -> None:
    tensors = tensors_of(weights, draw, "standard")
    factor = np.abs(draw(N_FEATURES)) + np.float32(0.5)
    folder = save(tmp_path / "sae", tensors | {"scaling_factor": factor})
    flat = {"hook_name": "blocks.1.hook_resid_pre", "finetuning_scaling_factor": True}
    (folder / "cfg.json").write_text(json.dumps(flat))
    plain = _reference("standard", tensors, 0, True)
    t = {name: value.astype(np.float64) for name, value in tensors.items()}

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes, _ = plain(x)
        return codes, codes * factor @ t["W_dec"] + t["b_dec"]

    agrees(open_dictionary(str(folder)), forward)
    (folder / "cfg.json").write_text(json.dumps(flat | {"finetuning_scaling_factor": False}))
    with pytest.raises(DictionaryError, match="scaling_factor that is not 1"):
        open_dictionary(str(folder))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "temporal"}, "architecture 'temporal'"),
        ({"architecture": "topk"}, "does not say k; say it with --k 32"),
        (
            {"architecture": "standard", "normalize_activations": "covariance_whitening"},
            "covariance_whitening",
        ),
        ({"architecture": "jumprelu"}, "lacks threshold"),
    ],
)
def test_a_missing_fact_is_named(
    tmp_path: Path, weights: Any, draw: Any, config: dict[str, Any], message: str
) -> None:
    folder = save(tmp_path / "sae", tensors_of(weights, draw, "standard"), **config)
    with pytest.raises(DictionaryError, match=message):
        open_dictionary(str(folder))


@pytest.mark.parametrize("key", ["metadata", "architecture", "normalize_activations", "activation_fn_kwargs"])
@pytest.mark.parametrize("wrong", [5, True, "x", [1], {"a": 1}, None])
def test_a_value_of_another_type_is_no_fact(
    tmp_path: Path, weights: Any, draw: Any, key: str, wrong: Any
) -> None:
    config = {"architecture": "standard"} | {key: wrong}
    folder = save(tmp_path / "sae", tensors_of(weights, draw, "standard"), **config)
    if key == "activation_fn_kwargs":
        (folder / "cfg.json").write_text(json.dumps({"activation_fn": "topk", key: wrong}))
    with suppress(DictionaryError):  # which is what it may end in; anything else fails
        found = open_dictionary(str(folder))
        assert (found.n_features, found.architecture) == (N_FEATURES, "standard")
