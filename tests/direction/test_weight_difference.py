"""Directions from two sets of weights: recovered from safetensors and from GGUF, old variant included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surgery.checkpoint.layout import open_checkpoint
from surgery.direction.find import Sources, find_direction
from surgery.direction.weight_difference import weight_difference
from surgery.errors import DirectionError
from surgery.model.families.trials import TRIALS
from surgery.model.twin import build_twin
from surgery.recipe.finding import FindWeightDifference
from tests.checkpoint.gguf_files import write_gguf
from tests.compare import edited_pairs as pairs
from tests.edit.edit_sources import directions, plan_for, run

R = pairs.direction().numpy()


def _wanted(base: Path, edited: Path, **settings: Any) -> FindWeightDifference:
    return FindWeightDifference(find="weight_difference", base=str(base), edited=str(edited), **settings)


def _find(base: Path, edited: Path, **settings: Any) -> Any:
    return weight_difference(_wanted(base, edited, **settings), base, edited)


def _folders(tmp_path: Path, family: str, edit: pairs.MatrixEdit) -> tuple[Path, Path]:
    config, tensors, anatomy = pairs.base(family)
    edited = pairs.edit_writers(tensors, anatomy, pairs.direction(), edit)
    return pairs.save(tmp_path / "a", config, tensors), pairs.save(tmp_path / "b", config, edited)


@pytest.mark.parametrize("family", sorted(pairs.FAMILIES))
@pytest.mark.parametrize("strength", [1.0, 0.5, -0.5])
def test_the_shared_component_is_the_direction(family: str, strength: float, tmp_path: Path) -> None:
    found = _find(*_folders(tmp_path, family, pairs.ablated(strength)))
    assert abs(float(found.vector @ R)) > 0.999
    first, second = found.origin["components"][:2]
    assert first["agreement"] > 0.99
    assert first["share"] > 0.95 > 0.05 > second["share"]
    assert "readers identical" in found.origin["readers"]


@pytest.mark.parametrize(
    ("model_type", "trial", "least"), [("gemma2", 0, 1), ("gemma4_text", 1, 1), ("inkling2_text", 0, 0.9)]
)
def test_all_that_stands_behind_a_writer_is_divided_out(
    model_type: str, trial: int, least: float, tmp_path: Path
) -> None:
    """Norms one behind the other; convolutions, which take three more rows for each direction."""
    config = {"model_type": model_type, **TRIALS[model_type][trial]}
    source = open_checkpoint(build_twin(config, tmp_path / "a", seed=0))
    edited = run(plan_for(source), source, tmp_path / "b")
    found = _find(source.folder, edited.folder)
    removed = directions(1)["r0"]
    assert abs(float(found.vector @ removed)) > (least - 1e-4) * np.linalg.norm(removed)
    assert all(each["agreement"] < 1 + 1e-9 for each in found.origin["components"])


def test_the_old_variant_takes_the_component_it_is_told(tmp_path: Path) -> None:
    folders = _folders(tmp_path, "llama", pairs.ablated(1.0))
    first = _find(*folders, variant="early_mlp")
    second = _find(*folders, variant="early_mlp", component=1)
    assert abs(float(first.vector @ R)) > 0.999
    assert abs(float(second.vector @ R)) < 0.05  # what was left after 'quantisation error' was noise
    assert first.origin["tensors"] == [f"model.layers.{layer}.mlp.down_proj.weight" for layer in (0, 1)]
    assert first.origin["singular_values"][0] > 20 * first.origin["singular_values"][1]


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
@pytest.mark.parametrize("variant", ["shared", "early_mlp"])
def test_gguf_files_do(kind: str, variant: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shapes = {"token_embd.weight": (200, 64), "output.weight": (200, 64)}
    for layer in range(3):
        shapes |= {f"blk.{layer}.attn_output.weight": (64, 64), f"blk.{layer}.ffn_down.weight": (64, 160)}
    tensors = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    edited = dict(tensors)
    for name, W in tensors.items():
        if "blk" in name:
            edited[name] = W - np.outer(R, R @ W).astype(np.float32)
    edited["token_embd.weight"] = tensors["token_embd.weight"] @ (np.eye(64) - np.outer(R, R)).astype(
        np.float32
    )
    base = write_gguf(tmp_path / "a.gguf", tensors, kind)
    found = _find(base, write_gguf(tmp_path / "b.gguf", edited, kind), variant=variant)
    assert abs(float(found.vector @ R)) > 0.999


def test_gguf_with_norms_behind_its_writers_is_refused(tmp_path: Path) -> None:
    base = write_gguf(tmp_path / "a.gguf", {"token_embd.weight": np.ones((4, 32))}, architecture="gemma2")
    with pytest.raises(DirectionError, match="gemma2"):
        _find(base, base)


def test_no_difference_is_an_error(tmp_path: Path) -> None:
    base, _ = _folders(tmp_path, "llama", pairs.ablated(1.0))
    with pytest.raises(DirectionError, match="no difference"):
        _find(base, base)


def test_a_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    base, _ = _folders(tmp_path, "llama", pairs.ablated(1.0))
    config, tensors, _ = pairs.base("llama")
    tensors["lm_head.weight"] = torch.ones(3, pairs.D)
    with pytest.raises(DirectionError, match="lm_head"):
        _find(base, pairs.save(tmp_path / "c", config, tensors))


def test_a_component_too_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DirectionError, match="counted from 0"):
        _find(*_folders(tmp_path, "llama", pairs.ablated(1.0)), component=500)


def test_a_recipe_finds_it(tmp_path: Path) -> None:
    base, edited = _folders(tmp_path, "llama", pairs.ablated(1.0))

    def is_not_asked(*_: Any) -> Any:
        raise AssertionError

    sources = Sources(prompts=is_not_asked, resolve=Path)
    finding = find_direction("r", _wanted(base, edited), is_not_asked, sources, d_model=pairs.D, seed=0)
    assert (finding.find, finding.n_train) == ("weight_difference", None)
    assert abs(float(finding.direction.vector @ R)) > 0.999
