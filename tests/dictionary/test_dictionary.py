"""Dictionaries encode as their formulas say, and a folder that lacks a fact is refused with its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from surgery import open_dictionary
from surgery.dictionary.dictionary import decode, encode, unit_rows
from surgery.dictionary.saelens import read_saelens
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint

D_MODEL, N_FEATURES = 6, 10


def _folder(path: Path, *, tensors: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    rng = np.random.default_rng(0)
    weights = {
        "W_enc": rng.standard_normal((D_MODEL, N_FEATURES)),
        "b_enc": rng.standard_normal(N_FEATURES),
        "W_dec": rng.standard_normal((N_FEATURES, D_MODEL)),
        "b_dec": rng.standard_normal(D_MODEL),
    } | (tensors or {})
    path.mkdir()
    save_file(
        {name: value.astype(np.float32) for name, value in weights.items()}, path / "sae_weights.safetensors"
    )
    cfg = {
        "architecture": "topk",
        "k": 3,
        "d_in": D_MODEL,
        "d_sae": N_FEATURES,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {"hook_name": "blocks.4.hook_resid_pre"},
    } | config
    (path / "cfg.json").write_text(json.dumps(cfg))
    return path


@pytest.mark.parametrize("subtract", [True, False])
def test_topk_keeps_the_k_largest(tmp_path: Path, subtract: bool) -> None:
    dictionary = read_saelens(_folder(tmp_path / "sae", apply_b_dec_to_input=subtract))
    x = np.random.default_rng(1).standard_normal((20, D_MODEL)).astype(np.float32)
    codes = encode(dictionary, x)
    pre = (x - dictionary.b_dec * subtract) @ dictionary.W_enc.T + dictionary.b_enc
    for row, code in zip(np.maximum(pre, 0), codes, strict=True):
        kept = np.argsort(-row)[:3]
        np.testing.assert_allclose(code[kept], row[kept], atol=1e-5)
        assert np.count_nonzero(np.delete(code, kept)) == 0
    np.testing.assert_allclose(
        decode(dictionary, codes), codes @ dictionary.W_dec + dictionary.b_dec, atol=1e-6
    )


def test_standard_is_relu(tmp_path: Path) -> None:
    dictionary = read_saelens(_folder(tmp_path / "sae", architecture="standard", k=None))
    x = np.random.default_rng(1).standard_normal((5, D_MODEL)).astype(np.float32)
    expected = np.maximum((x - dictionary.b_dec) @ dictionary.W_enc.T + dictionary.b_enc, 0)
    np.testing.assert_allclose(encode(dictionary, x), expected, atol=1e-5)
    assert dictionary.k is None


def test_loads_from_a_folder_by_name(tmp_path: Path) -> None:
    dictionary = open_dictionary(str(_folder(tmp_path / "sae")))
    assert (dictionary.n_features, dictionary.d_model, dictionary.k) == (N_FEATURES, D_MODEL, 3)
    assert dictionary.hook_point == HookPoint(4, "resid_pre")
    assert len(dictionary.sha256) == 64
    np.testing.assert_allclose(
        np.linalg.norm(unit_rows(dictionary, range(N_FEATURES)), axis=1), 1.0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "temporal"}, "architecture 'temporal'"),
        ({"k": None}, "does not say k"),
        ({"normalize_activations": "covariance_whitening"}, "normalize_activations"),
        ({"tensors": {"b_enc": np.zeros(3)}}, r"b_enc has shape \(3,\)"),
        ({"tensors": {"b_dec": np.full(D_MODEL, np.nan)}}, "b_dec holds values that are not finite"),
    ],
)
def test_what_cannot_be_read_exactly_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DictionaryError, match=message):
        read_saelens(_folder(tmp_path / "sae", **change))


def test_a_missing_tensor_or_file_is_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "sae")
    save_file(
        {"W_enc": np.zeros((D_MODEL, N_FEATURES), dtype=np.float32)}, folder / "sae_weights.safetensors"
    )
    with pytest.raises(DictionaryError, match="lacks W_dec, b_dec, b_enc"):
        read_saelens(folder)
    (folder / "sae_weights.safetensors").write_bytes(b"1234")
    with pytest.raises(DictionaryError, match="cannot be read"):
        read_saelens(folder)
    (folder / "cfg.json").write_text("{")
    with pytest.raises(DictionaryError, match="not valid JSON"):
        read_saelens(folder)
    (folder / "cfg.json").unlink()
    with pytest.raises(DictionaryError, match=r"no cfg\.json"):
        read_saelens(folder)
