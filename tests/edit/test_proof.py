"""The proof: exact for every family and flag, and not exact as soon as anything is left out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from surgery.checkpoint.layout import open_checkpoint
from surgery.edit import proof as proof_module
from surgery.edit.executor import execute
from surgery.edit.plan import Plan, TensorEdit, make_plan
from surgery.edit.proof import BOUND, prove
from surgery.model.anatomy import read_anatomy
from surgery.model.families import FAMILIES
from surgery.model.families.trials import TRIALS
from surgery.model.twin import build_twin
from surgery.recipe.editing import Ablate
from tests.model.family_configs import CONFIGS, SAMPLE, trials

APPROXIMATE = {family.approximate for family in FAMILIES.values()} - {None}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_is_exact(name: str) -> None:
    proof = prove(CONFIGS[name])
    assert proof.exact and proof.max_component <= BOUND, proof
    assert proof.base_component > 0.1, "the twin must write along the direction before the edit"
    assert proof.n_hook_points == 4 + proof.n_image_features - (proof.n_image_features > 0)


def _check(config: dict[str, Any]) -> None:
    proof = prove(config)
    if proof.approximate is not None:
        assert not proof.exact and proof.approximate in APPROXIMATE
        assert BOUND < proof.max_component < proof.base_component, "the edit must take most of it away"
        return
    assert proof.exact and proof.max_component <= BOUND, proof
    assert proof.base_component > 0.1, "the twin must write along the direction before the edit"
    assert proof.n_hook_points >= 2


@pytest.mark.parametrize("config", trials(*SAMPLE))
def test_a_sample_of_the_other_families_is_exact(config: dict[str, Any]) -> None:
    _check(config)


@pytest.mark.parametrize("config", trials("doge", "zaya"))
def test_a_family_that_scales_its_stream_is_exact_where_the_scale_is_one(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """So nothing but the scale keeps its edit from being exact, and no writer of it is missed."""
    folder = build_twin(config, tmp_path / "twin", seed=0)
    tensors = load_file(folder / "model.safetensors")
    for name in tensors:
        if name.endswith(("_residual", ".residual_scale")):
            tensors[name] = torch.ones_like(tensors[name])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    base = open_checkpoint(folder)
    r = np.random.default_rng(0).standard_normal((1, 32))
    plan = make_plan(base, read_anatomy(base.config, base.shapes), [Ablate(ablate="r")], {"r": r[0]})
    (tmp_path / "edited").mkdir()
    execute(plan, base, tmp_path / "edited", hashes=False)
    read = proof_module.read_stream
    assert read(tmp_path / "edited", r, seed=0).max_component < BOUND < read(folder, r, seed=0).max_component


@pytest.mark.parametrize("model_type", ["mamba2", "nemotron_h"])
def test_a_config_as_transformers_saves_it_is_proved(model_type: str, tmp_path: Path) -> None:
    """It holds an infinity, for which JSON has no word."""
    folder = build_twin({"model_type": model_type, **TRIALS[model_type][0]}, tmp_path / "t", seed=0)
    assert "Infinity" in (folder / "config.json").read_text()
    assert prove(open_checkpoint(folder).config).exact


@pytest.mark.slow
@pytest.mark.parametrize("config", trials())
def test_all_families_are_exact_or_say_why_not(config: dict[str, Any]) -> None:
    _check(config)


def _leave_out_each_kind(config: dict[str, Any], folder: Path) -> None:
    """Every kind of writer that is not edited must leave more than an exact proof may."""
    base = open_checkpoint(build_twin(config, folder / "twin", seed=0))
    anatomy = read_anatomy(base.config, base.shapes)
    directions = np.random.default_rng(0).standard_normal((1, anatomy.d_model))
    plan = make_plan(base, anatomy, [Ablate(ablate="r")], {"r": directions[0]})
    tied = {writer.tensor for writer in anatomy.writers if writer.tied}
    first = next((name for name in base.shapes if name in tied), None)
    kinds = {re.sub(r"(?<=\.)\d+(?=\.|$)", "*", edit.tensor) for edit in plan.edits} - (tied - {first})
    for index, kind in enumerate(sorted(kinds)):
        kept = [e for e in plan.edits if re.sub(r"(?<=\.)\d+(?=\.|$)", "*", e.tensor) != kind]
        if kind in tied:  # a copy that only unembeds would hide nothing
            kept = [edit for edit in kept if edit.tensor not in tied]
        target = folder / str(index)
        target.mkdir()
        execute(replace(plan, edits=tuple(kept)), base, target, hashes=False)
        assert proof_module.read_stream(target, directions, seed=0).max_component > 5 * BOUND, kind


@pytest.mark.parametrize("model_type", ["bloom", "gemma4_text", "zamba", "qwen3_vl", "llava_next"])
def test_each_kind_of_writer_left_out_is_found(model_type: str, tmp_path: Path) -> None:
    _leave_out_each_kind({"model_type": model_type, **TRIALS[model_type][-1]}, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("config", trials())
def test_each_kind_of_writer_of_every_family_left_out_is_found(
    config: dict[str, Any], tmp_path: Path
) -> None:
    _leave_out_each_kind(config, tmp_path)


@pytest.mark.parametrize("name", ["llama tied, biases", "gemma2 bias, untied", "gemma3"])
@pytest.mark.parametrize("seed", [1, 2])
def test_several_directions_are_exact(name: str, seed: int) -> None:
    assert prove(CONFIGS[name], seed=seed, rank=3).exact


def test_a_writer_that_the_twin_does_not_have_is_unproved() -> None:
    config = {"model_type": "qwen3_moe", "hidden_size": 8, "num_hidden_layers": 1, "num_experts": 1}
    shapes = {
        "model.embed_tokens.weight": (9, 8),
        "model.layers.0.self_attn.o_proj.weight": (8, 4),
        "model.layers.0.mlp.down_proj.weight": (8, 4),
    }
    dense = read_anatomy(config, shapes)
    proof = prove({"model_type": "qwen3_moe"}, model=dense)  # every layer of this one's twin is sparse
    assert proof.unproved == ("mlp.down_proj.weight",) and not proof.exact and proof.max_component < BOUND
    assert prove({"model_type": "qwen3_moe", "mlp_only_layers": [3]}, model=dense).exact


def _spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[TensorEdit], TensorEdit | None]) -> None:
    def spoiled(*args: Any, **options: Any) -> Plan:
        plan = make_plan(*args, **options)
        return replace(plan, edits=tuple(each for edit in plan.edits if (each := change(edit)) is not None))

    monkeypatch.setattr(proof_module, "make_plan", spoiled)


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text", "gemma3"])
def test_ignoring_a_post_norm_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil(monkeypatch, lambda edit: replace(edit, gain=None))
    proof = prove(CONFIGS[name])
    assert not proof.exact and proof.max_component > 1e-2


def test_a_wrong_offset_of_the_gain_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil(monkeypatch, lambda edit: replace(edit, gain=edit.gain and replace(edit.gain, offset=0.0)))
    assert not prove(CONFIGS["gemma2"]).exact


@pytest.mark.parametrize(
    "missed",
    [
        "model.embed_tokens.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.1.self_attn.o_proj.bias",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.0.mlp.down_proj.bias",
    ],
)
def test_one_writer_missed_is_found(missed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil(monkeypatch, lambda edit: None if edit.tensor == missed else edit)
    proof = prove(CONFIGS["llama tied, biases"])
    assert not proof.exact and proof.max_component > 1e-3


def test_a_missed_image_projector_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    _spoil(monkeypatch, lambda edit: None if "projector" in edit.tensor else edit)
    assert not prove(CONFIGS["gemma3"]).exact


def test_the_wrong_side_of_a_square_matrix_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(edit: TensorEdit) -> TensorEdit:
        return replace(edit, residual_axis=1) if edit.tensor.endswith("o_proj.weight") else edit

    _spoil(monkeypatch, turned)
    assert not prove(CONFIGS["llama"]).exact


def test_a_proof_takes_at_most_three_seconds_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    prove(CONFIGS["llama"])
    start = time.process_time()
    prove(CONFIGS["llama"])
    assert time.process_time() - start < 3
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_gives_the_same_proof() -> None:
    assert prove(CONFIGS["qwen3"], seed=4) == prove(CONFIGS["qwen3"], seed=4)
    assert np.isfinite(prove(CONFIGS["qwen3"], seed=5).max_component)
