"""An FP8 checkpoint on a CPU is the model that its codes and scales stand for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from surgery.apply import apply
from surgery.checkpoint.layout import open_checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.direction.direction import unit_direction, write_directions
from surgery.errors import SourceError
from surgery.model.language_model import final_log_probs
from surgery.model.loading import load_language_model
from surgery.model.widening import is_fp8
from tests.conftest import build_tokenizer
from tests.edit.edit_sources import directions, write_weights
from tests.edit.fp8_sources import KINDS, dequantised, make_fp8_source

PROMPTS = [[5, 6, 7, 8], [9, 8, 7, 6, 5]]


def _with_tokenizer(folder: Path) -> Path:
    build_tokenizer().save_pretrained(folder)
    return folder


def _plain(fp8: Path, folder: Path) -> Path:
    """The same model with its weights written out in float32."""
    folder.mkdir()
    source = open_checkpoint(fp8)
    write_weights(folder, {name: value.clone() for name, value in dequantised(source).items()})
    config = dict(source.config)
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    return _with_tokenizer(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_the_model_written_out_in_float32(tmp_path: Path, kind: str) -> None:
    fp8 = _with_tokenizer(make_fp8_source(tmp_path / "fp8", kind).folder)
    wanted = final_log_probs(load_language_model(_plain(fp8, tmp_path / "plain"), device="cpu"), PROMPTS)
    for dtype in ("auto", "float32"):
        model = load_language_model(fp8, device="cpu", dtype=dtype)
        assert model.network.dtype == torch.float32
        torch.testing.assert_close(final_log_probs(model, PROMPTS), wanted, atol=1e-5, rtol=0)


def test_other_checkpoints_are_left_to_transformers(tiny_folder: Path, tmp_path: Path) -> None:
    assert not is_fp8(tiny_folder) and not is_fp8(tmp_path)
    assert is_fp8(make_fp8_source(tmp_path / "fp8").folder)


def test_codes_without_scales_are_refused(tmp_path: Path) -> None:
    source = make_fp8_source(tmp_path / "fp8", shards=1)
    without = "model.layers.0.mlp.down_proj.weight_scale_inv"
    write_weights(
        source.folder, {name: read_tensor(source, name, None) for name in source.tensors if name != without}
    )
    with pytest.raises(SourceError, match=r"down_proj\.weight is stored as F8_E4M3, and no scales"):
        load_language_model(_with_tokenizer(source.folder), device="cpu")


def _with_whole_vocabulary(folder: Path) -> Path:
    """The same model with an embedding for each token of the tokenizer."""
    source = open_checkpoint(folder)
    tensors = {name: read_tensor(source, name, None) for name in source.tensors}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors[name].repeat(5, 1)
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
    write_weights(folder, tensors, 2)
    config = {**source.config, "vocab_size": len(tensors["lm_head.weight"])}
    (folder / "config.json").write_text(json.dumps(config))
    return _with_tokenizer(folder)


def test_an_edited_one_is_measured_in_float32(tmp_path: Path) -> None:
    fp8 = _with_whole_vocabulary(make_fp8_source(tmp_path / "fp8").folder)
    write_directions(tmp_path / "r.safetensors", {"r": unit_direction(directions(1)["r0"])})
    (tmp_path / "texts.txt").write_text("how do i water the fern\nthe river stone is yellow\n")
    out = tmp_path / "out"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {{source: {json.dumps(str(fp8))}, dtype: float32}}\n"
        "direction: {r: {find: file, path: r.safetensors}}\n"
        "edit: [{ablate: r}]\n"
        "verify: {perplexity: {texts: texts.txt}, control: 0}\n"
        f"output: {{folder: {json.dumps(str(out))}}}\n"
    )
    report = apply(recipe)
    assert report.verification is not None
    row = report.verification.rows[0]
    assert row.base is not None and row.edited is not None and row.base.value != row.edited.value
    assert report.environment.dtype == "float32" and report.edit.audit is not None
    assert {entry.dtype for entry in open_checkpoint(out).tensors.values()} >= {"F8_E4M3"}
