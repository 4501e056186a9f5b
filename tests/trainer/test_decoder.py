"""Every family against transformers' eager attention, on tiny random models built from config."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from surgery.errors import SourceError
from trainer.config import HookSettings
from trainer.decoder.attention import Attention, choose_attention
from trainer.decoder.forward import PLAIN, activations, depth
from trainer.decoder.shape import read_shape
from trainer.decoder.weights import load_weights

COMMON: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
    "attn_implementation": "eager",
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "beta_fast": 4.0, "beta_slow": 1.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
PHI3 = {
    "partial_rotary_factor": 0.75, "eos_token_id": 2, "bos_token_id": 1,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 500.0,
        "short_factor": [1.0, 1.2, 1.5], "long_factor": [1.5, 3.0, 6.0],
    },
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"attention_bias": True, "rope_parameters": LLAMA3}),
    "mistral": ("mistral", {"sliding_window": 4, "head_dim": 16}),
    "qwen2": ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "phi3": ("phi3", {"sliding_window": 5, "eos_token_id": 2, "bos_token_id": 1}),
    "llama, yarn": ("llama", {"rope_parameters": YARN}),
    "qwen3, yarn with mscale": ("qwen3", {"rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}}),
    "phi3, short texts": ("phi3", {**PHI3, "original_max_position_embeddings": 16}),
    "phi3, long texts": ("phi3", {**PHI3, "original_max_position_embeddings": 8}),
    "gemma": ("gemma", {"head_dim": 16}),
    "gemma2": ("gemma2", {"head_dim": 16, "sliding_window": 4, "query_pre_attn_scalar": 24}),
    "gemma3": (
        "gemma3_text",
        {
            "head_dim": 16, "sliding_window": 4, "query_pre_attn_scalar": 24,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
}  # fmt: skip
WIDTH = 11


def _model(name: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, special = FAMILIES[name]
    config = AutoConfig.for_model(kind, **{**COMMON, **special})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3 if parameter.ndim == 1 else 0.15)  # biases and gains too
    return model


def _ours(
    folder: Path, ids: np.ndarray, hook: HookSettings, segments: np.ndarray | None = None,
    attention: Attention = PLAIN, *, int8: bool = False,
) -> np.ndarray:  # fmt: skip
    shape = read_shape(folder)
    embedding, layers = load_weights(folder, shape, depth(hook), jnp.float32, int8=int8)
    segments = np.zeros(ids.shape, np.int32) if segments is None else segments
    positions = np.tile(np.arange(ids.shape[1], dtype=np.int32), (len(ids), 1))
    arrays = (jnp.asarray(array, jnp.int32) for array in (ids, positions, segments))
    found = activations(embedding, layers, *arrays, shape=shape, hook=hook, attention=attention)
    return np.asarray(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_equals_transformers(name: str, tmp_path: Path) -> None:
    model = _model(name)
    model.save_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(3, 40, (2, WIDTH))
    mask = np.ones((2, WIDTH), np.int64)
    mask[1, 7:] = 0
    caught: dict[str, torch.Tensor] = {}
    block = model.model.layers[1].mlp
    block.register_forward_hook(lambda _, args, out: caught.update(mlp=torch.cat([args[0], out], -1)))
    with torch.no_grad():
        states = model(
            torch.from_numpy(ids), attention_mask=torch.from_numpy(mask), output_hidden_states=True
        ).hidden_states
    wanted = {(2, "resid_pre"): states[2], (1, "mlp"): caught["mlp"]}
    if name == "llama":
        wanted |= {(0, "resid_pre"): states[0], (0, "resid_post"): states[1]}
    for (layer, point), theirs in wanted.items():
        hook = HookSettings.model_validate({"layer": layer, "point": point})
        mine = _ours(tmp_path, ids, hook, np.where(mask > 0, 0, -1))
        real = mask.astype(bool)
        np.testing.assert_allclose(mine[real], theirs.numpy()[real], atol=1e-4, err_msg=f"{layer} {point}")
        assert float(np.abs(mine[real]).max()) > 0.1


@pytest.mark.parametrize("kind", ["xla", "pallas"])
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_fused_attention_equals_plain(tmp_path: Path, kind: str, packed: bool) -> None:
    from jax.experimental.pallas import tpu

    _model("qwen3").save_pretrained(tmp_path)
    ids = np.random.default_rng(0).integers(3, 40, (2, 128))
    segments = np.zeros(ids.shape, np.int32)
    segments[0, 70:] = 1 if packed else -1
    segments[:, 120:] = -1
    hook, fused = HookSettings(layer=2), Attention(kind, packed)  # type: ignore[arg-type]
    expected = _ours(tmp_path, ids, hook, segments)
    with tpu.force_tpu_interpret_mode() if kind == "pallas" else nullcontext():
        found = _ours(tmp_path, ids, hook, segments, fused)
    np.testing.assert_allclose(found[segments >= 0], expected[segments >= 0], atol=2e-5)


def test_flash_attention_lowers_to_a_tpu_kernel(tmp_path: Path) -> None:
    _model("qwen3").save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    embedding, layers = load_weights(tmp_path, shape, 2, jnp.bfloat16, int8=True)
    rows = [jnp.zeros((2, 128), jnp.int32)] * 3
    for packed in (False, True):
        traced = activations.trace(
            embedding, layers, *rows, shape=shape, hook=HookSettings(layer=2),
            attention=Attention("pallas", packed),
        )  # fmt: skip
        assert "tpu_custom_call" in traced.lower(lowering_platforms=("tpu",)).as_text()


def test_attention_is_chosen_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {}
    for name in ("llama", "mistral", "gemma2"):
        _model(name).save_pretrained(tmp_path / name)
        shapes[name] = read_shape(tmp_path / name)

    def chosen(
        wanted: str, name: str = "llama", backend: str = "cpu", dtype: str = "bfloat16", width: int = 128
    ) -> str:
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        return choose_attention(wanted, shapes[name], 2, width, dtype, packed=False).kind

    assert [chosen("auto", backend=each) for each in ("cpu", "gpu", "tpu")] == ["plain", "cudnn", "pallas"]
    assert chosen("auto", backend="gpu", dtype="float32") == "plain"
    assert chosen("auto", backend="tpu", width=100) == "plain"
    assert [chosen("auto", each, "gpu") for each in ("mistral", "gemma2")] == ["plain", "plain"]
    assert chosen("auto", "mistral", "gpu", width=4) == "cudnn"  # no row is longer than the window
    for keys, told in (
        ({"wanted": "xla", "name": "gemma2"}, "caps its attention scores"),
        ({"wanted": "xla", "name": "mistral"}, "a window of 4 tokens is shorter than data.context, 128"),
        ({"wanted": "cudnn"}, "needs a GPU and model.dtype: bfloat16, not cpu and bfloat16"),
        ({"wanted": "pallas", "backend": "tpu", "width": 100}, "a multiple of 128"),
    ):
        with pytest.raises(SourceError, match=told):
            chosen(**keys)


@pytest.mark.parametrize("name", ["llama", "phi3", "gemma2"])
def test_8_bit_weights_stay_near_the_float_ones(name: str, tmp_path: Path) -> None:
    model = _model(name)
    model.save_pretrained(tmp_path)
    ids, hook = (
        np.random.default_rng(0).integers(3, 40, (4, WIDTH)),
        HookSettings(layer=2, point="resid_post"),
    )
    streams = [_ours(tmp_path, ids, hook, int8=int8) for int8 in (False, True)]
    with torch.no_grad():
        exact, near = (model.lm_head(model.model.norm(torch.from_numpy(each.copy()))) for each in streams)
    error = float((near - exact).norm() / (exact - exact.mean(-1, keepdim=True)).norm())
    assert 1e-4 < error < 0.03  # of the logits' own spread, after three blocks


def test_8_bit_weights_are_a_byte_each_and_exact_where_they_can_be(tmp_path: Path) -> None:
    _model("llama").save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    (_, exact), (_, packed) = (
        load_weights(tmp_path, shape, 2, jnp.bfloat16, int8=int8) for int8 in (False, True)
    )
    assert packed["gate"].dtype == jnp.int8 and packed["bias_query"].dtype == jnp.bfloat16
    for name in ("query", "gate", "down", "output"):
        assert packed[name].shape == exact[name].shape and packed[f"scale_{name}"].dtype == jnp.float32
        back = np.asarray(packed[name], np.float32) * np.asarray(packed[f"scale_{name}"])[:, None, :]
        near = np.abs(back - np.asarray(exact[name], np.float32))
        bound = 0.51 * np.asarray(packed[f"scale_{name}"])[:, None, :] + 0.004 * np.abs(back)
        assert (near <= bound).all()
    from trainer.decoder.weights import _in_8_bits

    matrix = np.array([[127.0, 0.0], [-3.0, 0.0]], np.float32)
    whole = _in_8_bits({"query": matrix, "norm_mlp_in": np.ones(2, np.float32)})
    assert (whole["query"] * whole["scale_query"] == matrix).all() and whole[
        "norm_mlp_in"
    ].dtype == np.float32


def test_only_the_blocks_before_the_hook_are_read(tmp_path: Path) -> None:
    _model("llama").save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    _, layers = load_weights(tmp_path, shape, depth(HookSettings(layer=1, point="resid_pre")), jnp.bfloat16)
    assert layers["gate"].shape == (1, 32, 48) and layers["gate"].dtype == jnp.bfloat16
    assert layers["norm_mlp_in"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("model_type", "gpt2", "family 'gpt2'"),
        ("hidden_act", "relu", "activation 'relu'"),
        ("rope_parameters", {"rope_type": "dynamic", "rope_theta": 1.0}, "rotary embedding 'dynamic'"),
        ("hidden_size", None, "config.json cannot be used"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, key: str, value: object, told: str) -> None:
    _model("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(SourceError, match=told):
        read_shape(tmp_path)


def test_missing_tensor_is_told(tmp_path: Path) -> None:
    _model("llama").save_pretrained(tmp_path)
    with pytest.raises(SourceError, match=r"model\.layers\.3"):
        load_weights(tmp_path, read_shape(tmp_path), 4, jnp.float32)
