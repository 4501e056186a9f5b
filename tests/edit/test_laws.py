"""Laws of the edit as a whole, from disk to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.edit.basis import tensor_basis
from surgery.edit.plan import Plan
from surgery.edit.proof import read_stream
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import directions, make_source, plan_for, run
from tests.model.family_configs import CONFIGS

FAMILY_SAMPLE = ["llama tied, biases", "gemma2 bias, untied", "gemma3"]


def _components(plan: Plan, base: Checkpoint, checkpoint: Checkpoint) -> np.ndarray:
    parts = []
    for edit in plan.edits:
        rows = read_tensor(checkpoint, edit.tensor, torch.float64).movedim(edit.residual_axis, -1).numpy()
        parts.append((rows @ tensor_basis(edit, plan, base).rows.T).ravel())
    return np.concatenate(parts)


@pytest.mark.parametrize("name", FAMILY_SAMPLE)
def test_twice_is_once_in_float32(name: str, tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS[name])
    once = run(plan_for(source), source, tmp_path / "1")
    twice = run(plan_for(once), once, tmp_path / "2")
    for tensor in source.tensors:
        torch.testing.assert_close(read_tensor(twice, tensor), read_tensor(once, tensor), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_twice_is_once_up_to_one_rounding(dtype: torch.dtype, rounding: Any, tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"], dtype=dtype)
    once = run(plan_for(source, rounding=rounding), source, tmp_path / "1")
    twice = run(plan_for(once, rounding=rounding), once, tmp_path / "2")
    for tensor in source.tensors:
        first, second = read_tensor(once, tensor), read_tensor(twice, tensor)
        moved, eps = second - first, torch.finfo(dtype).eps
        assert float(moved.abs().max()) <= eps * float(first.abs().max())  # one step of the largest element
        assert float(moved.norm()) <= eps / 2 * float(first.norm())  # all of it less than one rounding


def test_shards_and_one_file_hold_the_same_result(tmp_path: Path) -> None:
    results = []
    for shards in (1, 4):
        source = make_source(tmp_path / f"s{shards}", CONFIGS["gemma2"], dtype=torch.bfloat16, shards=shards)
        results.append(run(plan_for(source), source, tmp_path / f"o{shards}"))
    for tensor in results[0].tensors:
        assert torch.equal(read_tensor(results[0], tensor, None), read_tensor(results[1], tensor, None))


def test_negative_strength_strengthens_the_stream(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"])
    edited = run(plan_for(source, [Ablate(ablate="r0", strength=-1.0)]), source, tmp_path / "out")
    direction = directions(1)["r0"][None]
    before = read_stream(source.folder, direction, seed=0).max_component
    after = read_stream(edited.folder, direction, seed=0).max_component
    assert after > 1.2 * before


def test_directions_that_are_not_orthogonal_are_both_removed(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["gemma2"])
    plan = plan_for(source, [Ablate(ablate="r0"), Ablate(ablate="r1"), Ablate(ablate="r2")])
    edited = run(plan, source, tmp_path / "out")
    rows = np.stack(list(directions(3).values()))
    assert abs(float(rows[0] @ rows[1])) > 0.1
    assert read_stream(edited.folder, rows, seed=0).max_component < 1e-5


def test_editing_some_writers_leaves_the_direction_in_the_stream(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"])
    edited = run(plan_for(source, [Ablate(ablate="r0", writers=["mlp_out"])]), source, tmp_path / "out")
    assert read_stream(edited.folder, directions(1)["r0"][None], seed=0).max_component > 0.05


@settings(max_examples=15)
@given(
    name=st.sampled_from(FAMILY_SAMPLE),
    strengths=st.lists(st.floats(-3, 3).filter(lambda s: abs(s) > 1e-3), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
@example(name="llama tied, biases", strengths=[1.0, 2.0, -1.0], seed=0)
def test_any_strengths_do_to_each_basis_row_what_they_say(
    tmp_path_factory: pytest.TempPathFactory, name: str, strengths: list[float], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("law")
    source = make_source(folder / "s", CONFIGS[name], seed=seed)
    plan = plan_for(source, [Ablate(ablate=f"r{i}", strength=s) for i, s in enumerate(strengths)])
    edited = run(plan, source, folder / "out")
    before, after = (_components(plan, source, each).reshape(-1, len(strengths)) for each in (source, edited))
    np.testing.assert_allclose(after, before * (1 - np.array(strengths)), atol=3e-5)
