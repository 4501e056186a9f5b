"""Gemma Scope, Llama Scope, Qwen Scope, OpenAI, sparsify and dictionary_learning: each equal to its own
forward pass, written here from the formats' description."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from surgery import open_dictionary
from surgery.dictionary.facts import Facts
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint

D_MODEL, N_FEATURES, K = 6, 12, 3
TRUSTED = Facts(trust_pickle=True)
Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _transposed(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows.T)


def _double(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, dtype=np.float64) for name, value in tensors.items()}


def _torch_save(path: Path, tensors: dict[str, Any]) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    held = {
        k: torch.from_numpy(np.asarray(v)) if isinstance(v, np.ndarray) else v for k, v in tensors.items()
    }
    torch.save(held, path)


def _largest(values: np.ndarray, k: int) -> np.ndarray:
    kept = np.zeros_like(values)
    for row, out in zip(values, kept, strict=True):
        best = np.argsort(-row)[:k]
        out[best] = np.maximum(row[best], 0)
    return kept


def _jump(h: np.ndarray, threshold: Any) -> np.ndarray:
    return np.where(h > threshold, np.maximum(h, 0), 0)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("lower", [False, True])
def test_gemma_scope_1(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, compressed: bool, lower: bool
) -> None:
    folder = tmp_path / "google" / "gemma-scope-2b-pt-res" / "layer_20/width_16k/average_l0_71"
    folder.mkdir(parents=True)
    t = {
        "W_enc": _transposed(weights["enc"]),
        "W_dec": weights["dec"],
        "b_enc": weights["b_enc"],
        "b_dec": weights["b_dec"],
        "threshold": np.abs(draw(N_FEATURES)),
    }
    saved = {name.lower() if lower else name: value for name, value in t.items()}
    (np.savez_compressed if compressed else np.savez)(folder / "params.npz", **saved)
    found = open_dictionary(
        str(tmp_path / "google/gemma-scope-2b-pt-res"), path="layer_20/width_16k/average_l0_71"
    )
    assert (found.format, found.hook_point) == ("gemma_scope", HookPoint(20, "resid_post"))
    assert found.metadata["model_name"] == "google/gemma-2-2b"
    assert isinstance(found.W_dec, np.memmap) is not compressed
    t = _double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = _jump(x @ t["W_enc"] + t["b_enc"], t["threshold"])
        return f, f @ t["W_dec"] + t["b_dec"]

    agrees(found, forward)


def _npz(folder: Path, weights: Any, draw: Any) -> dict[str, np.ndarray]:
    """Version 1's one file, and its tensors in float64."""
    folder.mkdir(parents=True)
    held = {
        "W_enc": _transposed(weights["enc"]),
        "W_dec": weights["dec"],
        "b_enc": weights["b_enc"],
        "b_dec": weights["b_dec"],
        "threshold": np.abs(draw(N_FEATURES)),
    }
    np.savez(folder / "params.npz", **held)
    return _double(held)


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
        f = _jump(x / np.sqrt(D_MODEL) @ t["W_enc"] + t["b_enc"], t["threshold"])
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
    t = {
        "w_enc": _transposed(weights["enc"]),
        "w_dec": weights["dec"],
        "b_enc": weights["b_enc"],
        "b_dec": weights["b_dec"],
        "threshold": np.abs(draw(N_FEATURES)),
    }
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
    t = _double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = _jump(x @ t["w_enc"] + t["b_enc"], t["threshold"])
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


def _linear(weights: Any) -> dict[str, np.ndarray]:
    return {
        "encoder.weight": weights["enc"],
        "encoder.bias": weights["b_enc"],
        "decoder.weight": _transposed(weights["dec"]),
    }


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
    t = {**_linear(weights), "decoder.bias": weights["b_dec"]}
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    save_file(t, folder / "checkpoints/final.safetensors")
    (folder / "hyperparams.json").write_text(json.dumps(_LLAMA_SCOPE | changed))
    return _double(t)


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
        f = _jump(x @ enc.T + b_enc, 0.4)
        return f, f @ dec.T + b_dec

    agrees(found, forward)


def test_llama_scope_r1_keeps_its_norm_among_the_tensors(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any
) -> None:
    place = "blocks.10.hook_resid_post"
    held = {
        **_linear(weights),
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
    t, s = _double(held), np.sqrt(D_MODEL) / 5.0

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pre = s * x @ t["encoder.weight"].T + t["encoder.bias"]
        f = _jump(pre, np.exp(t["log_jumprelu_threshold"]))
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


def test_qwen_scope(tmp_path: Path, weights: Any, agrees: Any) -> None:
    repository = tmp_path / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_3"
    t = {
        "W_enc": weights["enc"],
        "W_dec": _transposed(weights["dec"]),
        "b_enc": weights["b_enc"],
        "b_dec": weights["b_dec"],
    }
    for layer in (4, 5):
        _torch_save(repository / f"layer{layer}.sae.pt", t)
    with pytest.raises(DictionaryError, match=r"holds 2 dictionaries .*--path layer4\.sae\.pt"):
        open_dictionary(str(repository), facts=TRUSTED)
    with pytest.raises(DictionaryError, match=r"is a pickle.*--trust-pickle"):
        open_dictionary(str(repository), path="layer5.sae.pt")
    found = open_dictionary(str(repository), path="layer5.sae.pt", facts=TRUSTED)
    assert (found.format, found.k, found.hook_point) == ("qwen_scope", 3, HookPoint(5, "resid_post"))
    t = _double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = _largest(x @ t["W_enc"].T + t["b_enc"], 3)
        return f, f @ t["W_dec"].T + t["b_dec"]

    agrees(found, forward)
    (repository / "layer5.sae.pt").rename(tmp_path / "layer5.sae.pt")
    with pytest.raises(DictionaryError, match="alone says k"):
        open_dictionary(str(tmp_path / "layer5.sae.pt"), facts=TRUSTED)


@pytest.mark.parametrize("activation", ["ReLU", "TopK"])
def test_openai(tmp_path: Path, weights: Any, agrees: Any, activation: str) -> None:
    t = {
        "encoder.weight": weights["enc"],
        "decoder.weight": _transposed(weights["dec"]),
        "pre_bias": weights["b_dec"],
        "latent_bias": weights["b_enc"],
    }
    state = {"activation_state_dict": {"k": K}} if activation == "TopK" else {}
    _torch_save(tmp_path / "8.pt", {**t, "activation": activation, **state})
    found = open_dictionary(str(tmp_path / "8.pt"), facts=TRUSTED)
    assert (found.format, found.hook_point) == ("openai", None)
    t = _double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
        inside = (x - mean) / (std + 1e-5) if activation == "TopK" else x
        h = (inside - t["pre_bias"]) @ t["encoder.weight"].T + t["latent_bias"]
        f = _largest(h, K) if activation == "TopK" else np.maximum(h, 0)
        output = f @ t["decoder.weight"].T + t["pre_bias"]
        return f, output * std + mean if activation == "TopK" else output

    agrees(found, forward)
    _torch_save(tmp_path / "8.pt", {**t, "activation": "Softmax"})
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
        f"decoder{suffix}.weight": _transposed(weights["dec"]),
        f"decoder{suffix}.bias": weights["b_dec"],
    }
    _torch_save(tmp_path / file, t)
    found = open_dictionary(str(tmp_path if as_folder else tmp_path / file), facts=TRUSTED)
    assert (found.format, found.hook_point) == ("goodfire", HookPoint(19, "resid_post"))
    assert found.metadata["model_name"] == model
    enc, b_enc, dec, b_dec = (value.astype(np.float64) for value in t.values())

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = np.maximum(x @ enc.T + b_enc, 0)
        return f, f @ dec.T + b_dec

    agrees(found, forward)


@pytest.mark.parametrize("jump", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_circuit_tracer(
    tmp_path: Path, weights: Any, draw: Any, agrees: Any, jump: bool, turned: bool
) -> None:
    t = {
        "W_enc": weights["enc"],
        "b_enc": weights["b_enc"],
        "W_dec": _transposed(weights["dec"]) if turned else weights["dec"],
        "b_dec": weights["b_dec"],
        "W_skip": draw(D_MODEL, D_MODEL),
    }
    if jump:
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
    t = _double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f = _jump(x @ t["W_enc"].T + t["b_enc"], t["activation_function.threshold"] if jump else 0.0)
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
    t = _double(t)

    def forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        h = np.maximum((x if transcode else x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"], 0)
        if activation == "topk":
            f = _largest(h, K)
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


def _learnt(kind: str, weights: Any, draw: Any) -> tuple[dict[str, Any], Forward]:
    """Tensors and forward pass of one class of dictionary_learning."""
    enc, dec, b, c = (_double(weights)[name] for name in ("enc", "dec", "b_enc", "b_dec"))
    threshold = np.asarray(0.5, np.float32)

    def out(f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return f, f @ dec + c

    if kind == "GatedAutoEncoder":
        extra = {name: draw(N_FEATURES, scale=0.5) for name in ("r_mag", "gate_bias", "mag_bias")}
        r, gate, magnitude = (_double(extra)[name] for name in ("r_mag", "gate_bias", "mag_bias"))
        held = {k: v for k, v in _linear(weights).items() if k != "encoder.bias"}

        def gated(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            z = (x - c) @ enc.T
            return out((z + gate > 0) * np.maximum(np.exp(r) * z + magnitude, 0))

        return held | extra | {"decoder_bias": weights["b_dec"]}, gated
    if kind in ("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder"):
        held = {"W_enc": _transposed(weights["enc"]), "W_dec": weights["dec"], "b_enc": weights["b_enc"]}
        held |= {"b_dec": weights["b_dec"], "threshold": threshold}
        if kind == "JumpReluAutoEncoder":
            held["threshold"] = np.abs(draw(N_FEATURES))
            each = held["threshold"].astype(np.float64)
            return held, lambda x: out(_jump(x @ enc.T + b, each))
        return held, lambda x: out(_jump((x - c) @ enc.T + b, 0.5))
    bias = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(kind, "b_dec")
    held = _linear(weights) | {bias: weights["b_dec"]}
    if kind == "AutoEncoderTopK":
        held |= {"k": np.asarray(K), "threshold": np.asarray(-1.0, np.float32)}
        return held, lambda x: out(_largest((x - c) @ enc.T + b, K))
    if kind == "BatchTopKSAE":
        held |= {"k": np.asarray(K), "threshold": threshold}
        return held, lambda x: out(_jump((x - c) @ enc.T + b, 0.5))
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
    _torch_save(tmp_path / "ae.pt", tensors)
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
    _torch_save(tmp_path / "ae.pt", tensors | {"threshold": np.asarray(-1.0, np.float32)})
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "BatchTopKSAE"}}))
    with pytest.raises(DictionaryError, match="never set it"):
        open_dictionary(str(tmp_path), facts=TRUSTED)
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "IdentityDict"}}))
    with pytest.raises(DictionaryError, match=r"dict_class is 'IdentityDict'.*AutoEncoder, "):
        open_dictionary(str(tmp_path), facts=TRUSTED)


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    import torch

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"encoder.weight": Trap()}, tmp_path / "8.pt")
    with pytest.raises(DictionaryError, match="not opened"):
        open_dictionary(str(tmp_path / "8.pt"), facts=TRUSTED)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": b"x"}, "no dictionary of a known format is there .*it holds: readme.txt"),
        ({"cfg.json": b"{}", "sparsity.safetensors": b"x"}, "has a configuration and no weights"),
        ({"cfg.json": b"{}", "sae_weights.safetensors": b"x"}, "cannot be read|says no architecture"),
        ({"params.npz": b"PK"}, "params.npz cannot be read"),
        ({"sae_weights.safetensors": b"12"}, "sae_weights.safetensors cannot be read"),
    ],
)
def test_what_is_no_dictionary_is_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DictionaryError, match=message):
        open_dictionary(str(tmp_path))


def test_a_file_of_another_kind_is_not_looked_beside(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "params.npz").write_bytes(b"PK")
    with pytest.raises(DictionaryError, match=r"a \.txt file is no dictionary's"):
        open_dictionary(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("kind", ["saelens", "dictionary_learning", "gemma_scope_2", "llama_scope"])
def test_a_crosscoder_is_refused_with_what_would_help(tmp_path: Path, draw: Any, kind: str) -> None:
    """A matrix for each of two places, in the spelling of each format that has them."""
    enc, dec = draw(2, D_MODEL, N_FEATURES), draw(2, N_FEATURES, D_MODEL)
    biases = {"b_enc": draw(N_FEATURES), "b_dec": draw(2, D_MODEL)}
    (tmp_path / "checkpoints").mkdir()
    if kind == "saelens":
        save_file({"W_enc": enc, "W_dec": dec, **biases}, tmp_path / "sae_weights.safetensors")
        (tmp_path / "cfg.json").write_text(json.dumps({"architecture": "crosscoder", "metadata": {}}))
    elif kind == "dictionary_learning":
        _torch_save(tmp_path / "ae.pt", {"encoder.weight": enc, "decoder.weight": dec})
        (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "BatchTopKCrossCoder"}}))
    elif kind == "gemma_scope_2":
        save_file({"w_enc": enc, "w_dec": dec, **biases}, tmp_path / "params.safetensors")
        (tmp_path / "config.json").write_text(json.dumps({"architecture": "jump_relu"}))
    else:
        linear = {"encoder.weight": enc, "decoder.weight": dec}
        save_file(linear, tmp_path / "checkpoints/final.safetensors")
        (tmp_path / "hyperparams.json").write_text("{}")
    with pytest.raises(DictionaryError, match=r"crosscoder.*one place as a SAELens folder"):
        open_dictionary(str(tmp_path), facts=TRUSTED)


def test_a_format_can_be_named_and_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="no format is called 'saelen'; known: saelens"):
        open_dictionary(str(tmp_path), facts=Facts(format="saelen"))
