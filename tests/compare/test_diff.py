"""The flow of a comparison: pairing, files, memory, threads, adapters, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from surgery.checkpoint.layout import open_checkpoint
from surgery.compare import diff as diff_module
from surgery.compare.adapter import extract_adapter, write_extracted
from surgery.compare.as_json import diff_as_json
from surgery.compare.diff import Diff, compare_adapter, compare_checkpoints
from surgery.compare.nearest import cosines_with, nearest_features
from surgery.dictionary.dictionary import Dictionary
from surgery.errors import CheckpointError, DictionaryError, EditError
from surgery.model.anatomy import read_anatomy
from surgery.model.twin import build_twin
from tests.compare import edited_pairs as pairs
from tests.edit.edit_sources import plan_for, run

R = pairs.direction().numpy()


def _folders(
    tmp_path: Path, family: str = "llama", strength: float = 1.0, dtype: torch.dtype = torch.bfloat16
) -> tuple[Path, Path]:
    config, tensors, anatomy = pairs.base(family)
    tensors = {name: value.to(dtype).double() for name, value in tensors.items()}
    edited = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(strength))
    one = pairs.save(tmp_path / "a", config, tensors, dtype)
    return one, pairs.save(tmp_path / "b", config, edited, dtype, shards=3)


def _compare(one: Path, two: Path, **options: int) -> Diff:
    return compare_checkpoints(open_checkpoint(one), open_checkpoint(two), **options)


def test_the_result_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    one, two = _folders(tmp_path, "mixtral")
    expected = diff_as_json(_compare(one, two, workers=1))
    assert diff_as_json(_compare(one, two, workers=4)) == expected
    code = (
        "import json, sys; from surgery.checkpoint.layout import open_checkpoint as o;"
        "from surgery.compare import diff; from surgery.compare.as_json import diff_as_json;"
        "diff.FORKING_BYTES = 0;"
        "print(json.dumps(diff_as_json(diff.compare_checkpoints(*map(o, sys.argv[1:]), workers=4))))"
    )
    forked = subprocess.run(
        [sys.executable, "-c", code, one, two], capture_output=True, text=True, check=True
    )
    # Arrays that travelled lie otherwise in memory, and the last bit of a product may be another.
    assert _rounded(forked.stdout) == _rounded(json.dumps(expected))


def _rounded(text: str) -> Any:
    return json.loads(text, parse_float=lambda each: round(float(each), 9))


def test_an_edit_behind_convolutions_is_an_ablation(tmp_path: Path) -> None:
    source = open_checkpoint(build_twin({"model_type": "inkling2_text"}, tmp_path / "a", seed=0))
    found = compare_checkpoints(source, run(plan_for(source), source, tmp_path / "b"))
    assert (found.verdict.kind, found.verdict.effect) == ("ablation", "removed")


def test_progress_counts_every_byte_once(tmp_path: Path) -> None:
    one, two = _folders(tmp_path)
    seen: list[tuple[int, int]] = []
    compare_checkpoints(
        open_checkpoint(one), open_checkpoint(two), progress=lambda done, total: seen.append((done, total))
    )
    total = sum(entry.n_bytes for entry in open_checkpoint(two).tensors.values())
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize("family", ["llama", "gemma2", "mixtral"])
def test_writers_beyond_the_budget_are_measured_against_the_others(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff_module, "SKETCH_BYTES", 5 * 2 * (8 * 8 + 64 * 4) * pairs.D)  # five writers
    found = _compare(*_folders(tmp_path, family, 0.5))
    kept = [each for each in found.evidence.changed if each.measured.change.size]
    assert len(kept) == 5 < len(found.evidence.changed)
    assert (found.verdict.kind, found.verdict.effect) == ("ablation", "weakened")
    assert found.verdict.facts["strength_mean"] == pytest.approx(0.5, abs=0.01)
    assert found.verdict.shared is not None
    assert abs(found.verdict.shared.vectors[0] @ R) > 0.999


def test_strengths_of_a_wide_model_are_exact_in_bfloat16(tmp_path: Path) -> None:
    """A change of a few steps of the type: λ must not be as blurred as a sketch of eight columns shows it."""
    config, shapes = pairs.FAMILIES["llama"]
    sizes = ("hidden_size", "vocab_size")
    config = config | {key: 8 * config[key] for key in sizes}
    generator = torch.Generator().manual_seed(0)
    before = {
        name: 0.02 * torch.randn([8 * size for size in shape], generator=generator).bfloat16()
        for name, shape in shapes.items()
    }
    r = torch.nn.functional.normalize(torch.randn(8 * pairs.D, generator=generator), dim=0)
    anatomy = read_anatomy(config, {name: tuple(value.shape) for name, value in before.items()})
    after = {name: value.float() for name, value in before.items()}
    for writer in anatomy.writers:
        value = after[writer.tensor].movedim(writer.residual_axis, 0)
        after[writer.tensor] = (value - torch.outer(r, r @ value)).movedim(0, writer.residual_axis)
    one, two = pairs.save(tmp_path / "a", config, before), pairs.save(tmp_path / "b", config, after)
    verdict = _compare(one, two).verdict
    off = np.array([value - 1 for values in verdict.strengths.values() for value in values])
    assert verdict.kind == "ablation" and len(off) == len(anatomy.writers)
    assert np.abs(off).max() < 0.01 and np.sqrt(np.mean(off**2)) < 0.0012


def test_side_files_are_compared(tmp_path: Path) -> None:
    one, two = _folders(tmp_path)
    (one / "tokenizer.json").write_text('{"b": 1, "a": [1, 2]}')
    (two / "tokenizer.json").write_text('{"a": [1, 3], "b": 1}')
    (one / "chat_template.jinja").write_text("same")
    (two / "chat_template.jinja").write_text("same")
    (one / "LICENSE").write_bytes(b"\xff\xfe")
    (two / "blob.dat").write_bytes(b"\x00")
    files = {each.name: each for each in _compare(one, two).evidence.files}
    assert set(files) == {"tokenizer.json", "LICENSE", "blob.dat", "model.safetensors.index.json"}
    assert files["tokenizer.json"].lines == ("-    2", "+    3")
    assert (files["LICENSE"].status, files["blob.dat"].status) == ("removed", "added")


def test_only_files_that_matter_make_a_difference(tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    one = pairs.save(tmp_path / "a", config, tensors)
    two = pairs.save(tmp_path / "b", config, tensors, shards=2)
    (two / "README.md").write_text("new")
    assert _compare(one, two).same
    (two / "generation_config.json").write_text("{}")
    assert not _compare(one, two).same


def test_tensors_that_come_or_go_are_named(tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    one = pairs.save(tmp_path / "a", config, tensors)
    fewer = {name: value for name, value in tensors.items() if name != "lm_head.weight"}
    fewer["extra"] = torch.ones(3)
    fewer["model.norm.weight"] = torch.ones(7)
    verdict = _compare(one, pairs.save(tmp_path / "b", config, fewer)).verdict
    assert verdict.kind == "unknown"
    assert verdict.facts == {
        "added": ["extra"],
        "removed": ["lm_head.weight"],
        "reshaped": ["model.norm.weight"],
    }


def test_a_family_that_is_not_known_gets_no_ablation(tmp_path: Path) -> None:
    one, two = _folders(tmp_path)
    for folder in (one, two):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "nobody_knows"}))
    found = _compare(one, two)
    assert found.verdict.kind == "low_rank"
    assert "nobody_knows" in (found.evidence.why_no_anatomy or "")


def test_a_damaged_tensor_is_unknown(tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    one = pairs.save(tmp_path / "a", config, tensors)
    tensors["lm_head.weight"][5, 5] = float("nan")
    assert _compare(one, pairs.save(tmp_path / "b", config, tensors)).verdict.kind == "unknown"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_an_extracted_adapter_rebuilds_the_edit(dtype: torch.dtype, tmp_path: Path) -> None:
    one, two = _folders(tmp_path, dtype=dtype)
    adapter = extract_adapter(_compare(one, two))
    (tmp_path / "adapter").mkdir()
    write_extracted(adapter, tmp_path / "adapter", base="base")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    before, after = open_checkpoint(one), open_checkpoint(two)
    from surgery.checkpoint.tensor import read_tensor

    step = 2e-2 if dtype is torch.bfloat16 else 1e-5
    for name in before.tensors:
        delta = read_tensor(after, name) - read_tensor(before, name)
        key = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{key}.lora_A.weight" in saved:
            rebuilt = saved[f"{key}.lora_B.weight"] @ saved[f"{key}.lora_A.weight"]
        elif f"{key}.lora_embedding_A" in saved:
            rebuilt = (saved[f"{key}.lora_embedding_B"] @ saved[f"{key}.lora_embedding_A"]).T
        else:
            assert not delta.any()
            continue
        assert float((rebuilt - delta).norm() / delta.norm()) < step, name
    assert adapter.lost < max(step**2, 1e-6)


@pytest.mark.parametrize("rank", [2, 7, 8, 9])
def test_an_extracted_adapter_has_every_component(rank: int, tmp_path: Path) -> None:
    """A sketch of eight columns may not show the last one of seven or eight."""
    config, tensors, _ = pairs.base("llama")
    names = [name for name in tensors if "q_proj" in name or "down_proj" in name]
    tensors = {name: value.to(torch.bfloat16).double() for name, value in tensors.items()}
    one = pairs.save(tmp_path / "a", config, tensors)
    two = pairs.save(tmp_path / "b", config, pairs.with_adapter(tensors, names, rank, scale=0.05))
    adapter = extract_adapter(_compare(one, two))
    assert [each.left.shape[1] for each in adapter.factors] == [rank] * len(names)
    assert adapter.lost < 0.005


def test_an_adapter_of_a_fine_tune_needs_a_rank(tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    one = pairs.save(tmp_path / "a", config, tensors)
    found = _compare(one, pairs.save(tmp_path / "b", config, pairs.fine_tuned(tensors)))
    with pytest.raises(EditError, match="--rank"):
        extract_adapter(found)
    adapter = extract_adapter(found, 6)
    assert (adapter.rank, adapter.lost > 0.3) == (6, True)
    assert "model.norm.weight" in adapter.left_out


@pytest.mark.parametrize("merged", [False, True])
def test_a_vector_where_the_base_has_no_bias_is_measured(merged: bool, tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    base = pairs.save(tmp_path / "a", config, tensors, torch.float32)
    module, vector = "model.layers.1.mlp.down_proj", 1.5 * pairs.direction().float()
    if merged:
        added = {f"{module}.bias": 2 * vector.double(), "model.layers.0.self_attn.q_proj.bias": torch.ones(4)}
        found = _compare(base, pairs.save(tmp_path / "b", config, tensors | added, torch.float32))
    else:
        (tmp_path / "b").mkdir()
        settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "lora_bias": True}
        (tmp_path / "b" / "adapter_config.json").write_text(json.dumps(settings))
        save_file(
            {f"base_model.model.{module}.lora_B.bias": vector}, tmp_path / "b" / "adapter_model.safetensors"
        )
        found = compare_adapter(open_checkpoint(base), tmp_path / "b")
    assert found.verdict.kind == "bias_addition"
    assert found.verdict.facts["length_added"] == {f"{module}.bias": pytest.approx(3, rel=1e-5)}
    np.testing.assert_allclose(found.evidence.added_vectors[f"{module}.bias"], 2 * vector.numpy(), rtol=1e-6)


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_is_compared_with_its_scale(rslora: bool, tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    base = pairs.save(tmp_path / "a", config, tensors, torch.float32)
    folder = tmp_path / "adapter"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": rslora}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    A, B = torch.randn(4, pairs.D), 0.003 * torch.randn(pairs.D, 4)
    key = "base_model.model.model.layers.1.self_attn.o_proj"
    save_file({f"{key}.lora_A.weight": A, f"{key}.lora_B.weight": B}, folder / "adapter_model.safetensors")
    found = compare_adapter(open_checkpoint(base), folder)
    [changed] = found.evidence.changed
    scale = 8 / (2 if rslora else 4)
    assert found.verdict.kind == "low_rank"
    assert changed.measured.numbers.energy == pytest.approx(float((scale * B @ A).square().sum()), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "shape", "match"),
    [
        ({"peft_type": "IA3"}, 64, "no plain LoRA"),
        ({"peft_type": "LORA", "use_dora": True}, 64, "no plain LoRA"),
        ({"peft_type": "LORA"}, 63, "another model"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    settings: dict[str, object], shape: int, match: str, tmp_path: Path
) -> None:
    config, tensors, _ = pairs.base("llama")
    base = pairs.save(tmp_path / "a", config, tensors)
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    key = "base_model.model.model.layers.1.self_attn.o_proj"
    factors = {f"{key}.lora_A.weight": torch.ones(1, shape), f"{key}.lora_B.weight": torch.ones(64, 1)}
    save_file(factors, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=match):
        compare_adapter(open_checkpoint(base), folder)


def _dictionary(W_dec: np.ndarray) -> Dictionary:
    n, d = W_dec.shape
    return Dictionary("book", "standard", W_dec, np.zeros(n), W_dec, np.zeros(d), None, True, None, "sha")


def test_the_nearest_features_rebuild_the_direction() -> None:
    atoms = np.linalg.qr(np.random.default_rng(0).standard_normal((32, 32)))[0].astype(np.float32)
    vector = (0.8 * atoms[3] - 0.6 * atoms[9]).astype(np.float64)
    found = nearest_features(vector, _dictionary(5 * atoms))
    assert [feature for feature, _ in found.features[:2]] == [3, 9]
    assert [cosine for _, cosine in found.features[:2]] == pytest.approx([0.8, -0.6], abs=1e-6)
    assert (set(found.code), found.cosine) == ({3, 9}, pytest.approx(1))
    with pytest.raises(DictionaryError, match="another model"):
        nearest_features(np.ones(31), _dictionary(atoms))


def test_cosines_have_no_sign_and_other_widths_are_passed_over() -> None:
    found = cosines_with(np.eye(3)[:2], {"a": np.array([-2.0, 0, 0]), "b": np.ones(5)})
    assert found == {"a": (1.0, 0.0)}


def test_a_zero_of_the_other_sign_is_stored_otherwise_and_nothing_else(tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    name = "model.layers.0.mlp.down_proj.weight"
    signed = [
        {**tensors, name: torch.cat([torch.full_like(tensors[name][:1], zero), tensors[name][1:]])}
        for zero in (0.0, -0.0)
    ]
    found = _compare(*(pairs.save(tmp_path / str(side), config, each) for side, each in enumerate(signed)))
    assert (found.same, found.verdict.kind, found.verdict.tensors) == (False, "requantisation", (name,))


def test_an_adapter_of_zeros_changes_nothing(tmp_path: Path) -> None:
    one, two = _folders(tmp_path)
    (tmp_path / "lora").mkdir()
    write_extracted(extract_adapter(_compare(one, two)), tmp_path / "lora", base=str(one))
    weights = tmp_path / "lora" / "adapter_model.safetensors"
    save_file({name: torch.zeros_like(value) for name, value in load_file(weights).items()}, weights)
    found = compare_adapter(open_checkpoint(one), tmp_path / "lora")
    assert found.same and found.verdict.kind == "identical"
