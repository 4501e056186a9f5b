"""Every variant of an edit goes from recipe to lock, plan and card, and the lock writes the same bytes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save

from surgery.apply import apply
from surgery.checkpoint.layout import open_checkpoint
from surgery.cli.diff_expect import unexpected
from surgery.direction.direction import unit_direction, write_directions
from surgery.edit.recheck import recheck

VARIANTS = {
    "keep": ("steps: [{ablate: r}], keep: column_norms, stretch_at_most: 1.5", "gets its length back"),
    "kernel": (
        "steps: [{ablate: r, strength: 0.8, kernel: {peak: 1, reach: 2, shape: cosine}}]",
        "strength up to 0.8, less in other layers",
    ),
    "range": ("steps: [{ablate: r, layers: {first: 1}}]", "was removed"),
    "reflect": ("steps: [{ablate: r, strength: 2}]", "was reversed"),
    "skip": ("steps: [{ablate: r}], tied: skip", "is tied and left as it is"),
    "untie": ("steps: [{ablate: r}], tied: untie", "the unembedding keeps what it was, as lm_head.weight"),
    "negative": ("steps: [{ablate: r, strength: -1}, {ablate: s}]", "was strengthened"),
}


def _tied(folder: Path, copy: Path) -> Path:
    """The same model with its unembedding taken away and its embedding in that one's place."""
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    del tensors["lm_head.weight"]
    (copy / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    return copy


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_recorded_and_reproduced(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    edit, said = VARIANTS[name]
    model = _tied(tiny_folder, tmp_path / "tied") if "tied" in edit else tiny_folder
    rng = np.random.default_rng(0)
    write_directions(
        tmp_path / "two.safetensors", {key: unit_direction(rng.standard_normal(32)) for key in "rs"}
    )
    used = [key for key in "rs" if f"ablate: {key}" in edit]
    found = ", ".join(f"{key}: {{find: file, path: two.safetensors, tensor: {key}}}" for key in used)
    out = tmp_path / "out"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {{source: {json.dumps(str(model))}}}\n"
        f"direction: {{{found}}}\n"
        f"edit: {{{edit}}}\n"
        f"output: {{folder: {json.dumps(str(out))}}}\n"
    )
    report = apply(recipe)
    lock = out / "surgery" / "surgery.lock.yaml"
    assert report.edit.audit is not None and report.edit.audit.problems == ()
    assert said in (out / "README.md").read_text()
    wanted = yaml.safe_load("{" + edit + "}")
    kept = yaml.safe_load(lock.read_text())["edit"]
    for step, locked in zip(wanted["steps"], kept["steps"], strict=True):
        for key, value in step.items():
            assert locked[key] == value or locked[key].items() >= value.items()
    base = open_checkpoint(model)
    assert recheck(out, model).problems == ()
    assert unexpected(lock, base, open_checkpoint(out)) == ()
    apply(lock, overrides=[f"output.folder={json.dumps(str(tmp_path / 'again'))}"])
    again = tmp_path / "again"
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
