"""A model whose edit cannot be proved is refused; where the recipe allows it the result says so."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError

from surgery.apply import apply
from surgery.direction.direction import unit_direction, write_directions
from surgery.edit.executor import execute
from surgery.errors import (
    AnatomyError,
    CheckpointError,
    DirectionError,
    OutputError,
    RecipeError,
    SourceError,
)
from tests.conftest import build_tokenizer

_RECIPE = """
model: {{source: {model}}}
direction: {{r: {{find: file, path: r.safetensors}}}}
edit: {{steps: [{{ablate: r}}]{more}}}
output: {{folder: {out}}}
"""


@pytest.fixture(scope="module")
def doge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family that no edit of writers is exact for: it scales the stream coordinate by coordinate."""
    import torch
    from transformers import DogeConfig, DogeForCausalLM

    folder = tmp_path_factory.mktemp("doge") / "model"
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = DogeConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    DogeForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _recipe(folder: Path, model: Path, out: Path, more: str = "") -> Path:
    direction = unit_direction(np.random.default_rng(0).standard_normal(32))
    write_directions(folder / "r.safetensors", {"r": direction})
    path = folder / "recipe.yaml"
    path.write_text(_RECIPE.format(model=json.dumps(str(model)), out=json.dumps(str(out)), more=more))
    return path


def test_what_is_not_proved_is_refused_with_the_way_out(doge: Path, tmp_path: Path) -> None:
    with pytest.raises(AnatomyError, match=r"coordinate by coordinate(?s:.)*`unproved: allow`"):
        apply(_recipe(tmp_path, doge, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_what_is_allowed_is_said_in_plan_report_and_card(doge: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = apply(_recipe(tmp_path, doge, out, ", unproved: allow"))
    proof = report.edit.proof
    assert proof is not None and not proof.exact and proof.max_component > 1e-3
    leak = f"{proof.max_component:.1e}"
    plan = json.loads((out / "surgery" / "plan.json").read_text())
    card = (out / "README.md").read_text()
    page = (out / "surgery" / "report.html").read_text()
    assert plan["notes"][0].startswith("not proved: ") and leak in plan["notes"][0]
    for text in (card, page):
        assert "not proved exact for this kind of model" in text and leak in text
    assert "was proved on a random twin" not in card
    assert not json.loads((out / "surgery" / "report.json").read_text())["edit"]["proof"]["exact"]


def test_a_twin_that_cannot_be_built_is_allowed_too(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise AnatomyError("no twin can be built")

    monkeypatch.setattr("surgery.preparation.prove", fails)
    with pytest.raises(AnatomyError, match="no twin can be built"):
        apply(_recipe(tmp_path, tiny_folder, tmp_path / "refused"))
    report = apply(_recipe(tmp_path, tiny_folder, tmp_path / "out", ", unproved: allow"))
    assert report.edit.proof is not None and report.edit.proof.failed == "no twin can be built"
    assert "no leak is known" in report.edit.notes[0]
    assert "NONE: no twin" in (tmp_path / "out" / "surgery" / "report.html").read_text()


def test_the_word_is_one_of_two(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"edit\.unproved: expected one of refuse, allow"):
        apply(_recipe(tmp_path, tiny_folder, tmp_path / "out", ", unproved: yes"))


def test_a_model_without_a_chat_template_is_named_as_one(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = shutil.copytree(tiny_folder, tmp_path / "bare")
    for file in bare.glob("chat_template*"):
        file.unlink()
    for name, text in {"good": "a\nb\n", "bad": "c\nd\n"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {{source: {bare}}}\n"
        "direction: {r: {find: difference_of_means, positive: bad.txt, negative: good.txt,"
        " select: {layer: 1, hook_point: resid_pre, position: -1}}}\n"
        f"edit: [{{ablate: r}}]\noutput: {{folder: {tmp_path / 'out'}}}\n"
    )
    assert any("no chat template" in note for note in apply(recipe).edit.notes)

    def fails(name: str, wanted: Any, model: Any, sources: Any, **options: Any) -> None:
        sources.prompts(wanted.positive)
        raise DirectionError("none of 6 candidates meets the limits")

    monkeypatch.setattr("surgery.preparation.find_direction", fails)
    recipe.write_text(recipe.read_text().replace("/out", "/other"))
    with pytest.raises(DirectionError, match=r"meets the limits\.\n.*no chat template"):
        apply(recipe)
    recipe.write_text(recipe.read_text().replace("/bare", "/whole"))
    shutil.copytree(tiny_folder, tmp_path / "whole")
    with pytest.raises(DirectionError, match=r"meets the limits$"):
        apply(recipe)


def test_a_model_that_computes_no_numbers_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    recipe = _recipe(tmp_path, broken, tmp_path / "out")
    (tmp_path / "p.txt").write_text("a\nb\n")
    recipe.write_text(recipe.read_text() + "verify: {drift: {prompts: p.txt}}\n")
    with pytest.raises(SourceError, match="answers NaN to a plain prompt"):
        apply(recipe)
    assert not (tmp_path / "out").exists()


def test_an_edit_along_a_stored_direction_runs_no_model(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint larger than memory, or one without a tokenizer, is edited all the same."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(tiny_folder / name, bare / name)
    monkeypatch.setattr("surgery.preparation.load_language_model", pytest.fail)
    report = apply(_recipe(tmp_path, bare, tmp_path / "out"))
    assert report.edit.audit is not None and not report.edit.audit.problems
    assert (report.environment.device, report.environment.dtype) == (None, None)
    assert "measured on" not in (tmp_path / "out" / "surgery" / "report.html").read_text()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_source_that_changes_under_the_run_is_noticed(
    tiny_folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hashes were taken before, and what was read is of no one model."""
    source = shutil.copytree(tiny_folder, tmp_path / "source")

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        data = bytearray((source / name).read_bytes())
        data[-2:] = data[-2:] if name == "config.json" else bytes(2)
        (source / name).write_bytes(data)
        return execute(*arguments, **options)

    monkeypatch.setattr(sys.modules["surgery.apply"], "execute", meanwhile)
    with pytest.raises(CheckpointError, match=rf"changed while it was read \({name}\); leave it"):
        apply(_recipe(tmp_path, source, tmp_path / "out"))
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_a_twin_that_no_disk_takes_is_said(
    kind: type[Exception], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise kind("No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(OutputError, match=r"the twin cannot be written \(No space.*set TMPDIR"):
        apply(_recipe(tmp_path, tiny_folder, tmp_path / "out"))
