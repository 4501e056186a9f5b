"""Columns that keep their length: their norms stand to rounding, the direction goes all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.compare.diff import compare_checkpoints
from surgery.edit import spans, tiles
from surgery.edit.audit import audit
from surgery.edit.basis import tensor_basis
from surgery.edit.plan import Plan
from surgery.edit.proof import read_stream
from surgery.edit.recheck import recheck
from surgery.errors import EditError
from surgery.export.peft import make_adapter
from surgery.linalg.projection import orthonormal_basis, project, stretches
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import anatomy_of, contents, directions, make_source, plan_for, run
from tests.edit.fp8_sources import make_fp8_source
from tests.edit.results import make_result
from tests.model.family_configs import CONFIGS

FAMILIES = {
    "tied": CONFIGS["llama tied, biases"],
    "post-norms": CONFIGS["gemma2 bias, untied"],
    "experts by rows": {"model_type": "gpt_oss"},
    "experts by columns": {"model_type": "qwen3_moe"},
    "Conv1D": {"model_type": "gpt2"},
}
STEP = {torch.float64: 2.0**-52, torch.float32: 2.0**-23, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}


def _columns(plan: Plan, source: Checkpoint, result: Checkpoint) -> list[tuple[np.ndarray, ...]]:
    """Of each matrix: its columns before and after, as rows, and its basis."""
    found = []
    for edit in plan.edits:
        if not edit.bias:
            both = (
                read_tensor(each, edit.tensor, torch.float64)
                .movedim(edit.residual_axis, -1)
                .flatten(0, -2)
                .numpy()
                for each in (source, result)
            )
            found.append((*both, tensor_basis(edit, plan, source).rows))
    return found


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("strength", [1.0, 0.4, -1.0, 2.0])
def test_norms_stand_and_the_direction_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype, strength: float
) -> None:
    monkeypatch.setattr(tiles, "TILE_ELEMENTS", 150)
    source = make_source(tmp_path / "s", FAMILIES[name], dtype=dtype)
    plan = plan_for(source, [Ablate(ablate="r0", strength=strength)], stretch=10.0)
    result = run(plan, source, tmp_path / "out")
    step = max(STEP[dtype], 2.0**-22)
    for before, after, basis in _columns(plan, source, result):
        old, new = (np.linalg.norm(each, axis=1) for each in (before, after))
        np.testing.assert_allclose(new, old, rtol=2 * step)
        if strength == 1:
            assert np.abs(after @ basis.T).max() <= step * old.max()
    found = audit(plan, source, result)
    assert found.problems == () and found.untouched_identical
    for row in found.rows:
        assert row.achieved == pytest.approx((strength,), abs=0.05)


@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_it_is_what_the_plain_function_gives(tmp_path: Path, rounding: Any) -> None:
    source = make_source(tmp_path / "s", CONFIGS["gemma2"], dtype=torch.bfloat16)
    steps = [Ablate(ablate="r0"), Ablate(ablate="r1", strength=-0.5)]
    plan = plan_for(source, steps, stretch=1.3, rounding=rounding)
    result = run(plan, source, tmp_path / "out")
    for edit in plan.edits:
        wanted = project(
            read_tensor(source, edit.tensor),
            tensor_basis(edit, plan, source).rows,
            edit.strengths,
            residual_axis=edit.residual_axis,
            stretch_at_most=1.3,
        )
        steps_off = 0.51 if rounding == "nearest" else 2.01
        got = read_tensor(result, edit.tensor)
        assert float(((got - wanted).abs() / (wanted.abs() + 1e-6)).max()) <= steps_off * 2.0**-7
    assert audit(plan, source, result).problems == ()


def test_no_column_is_made_longer_than_the_limit() -> None:
    q = orthonormal_basis([directions(1)["r0"]])
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(32, 40, generator=generator, dtype=torch.float64)
    matrix[:, 0] = torch.from_numpy(q[0]) * 5 + 0.01 * matrix[:, 0]  # nearly along it
    matrix[:, 1] = torch.from_numpy(q[0])  # along it
    matrix[:, 2] = 0
    out = project(matrix, q, [1.0], residual_axis=0, stretch_at_most=2.0)
    plain = project(matrix, q, [1.0], residual_axis=0)
    torch.testing.assert_close(out[:, 0], 2 * plain[:, 0])
    assert float(out[:, 1].norm()) < 1e-14 and not out[:, 2].any()
    torch.testing.assert_close(out[:, 3:].norm(dim=0), matrix[:, 3:].norm(dim=0))


@settings(max_examples=100)
@given(
    seed=st.integers(0, 999),
    strengths=st.lists(st.floats(-3, 3), min_size=1, max_size=3),
    most=st.floats(1, 5),
)
def test_a_factor_is_the_ratio_of_lengths_or_the_limit(
    seed: int, strengths: list[float], most: float
) -> None:
    rng = np.random.default_rng(seed)
    q = torch.from_numpy(orthonormal_basis(list(rng.standard_normal((len(strengths), 16)))))
    columns = torch.from_numpy(rng.standard_normal((16, 7)))
    lambdas, along = torch.tensor(strengths, dtype=torch.float64), q @ columns
    found = stretches(columns.square().sum(0), along, lambdas, most)
    edited = columns - q.T @ (lambdas[:, None] * along)
    ratio = columns.norm(dim=0) / edited.norm(dim=0)
    torch.testing.assert_close(found, ratio.clamp(max=most), rtol=1e-9, atol=0)


def test_the_stream_is_clean_and_a_diff_names_the_kind(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"])
    result = run(plan_for(source, stretch=3.0), source, tmp_path / "out")
    assert read_stream(result.folder, directions(1)["r0"][None], seed=0).max_component < 1e-5
    assert compare_checkpoints(source, result).verdict.kind == "column_norm_preserving_ablation"


def test_fp8_keeps_them_as_far_as_it_can(tmp_path: Path) -> None:
    source = make_fp8_source(tmp_path / "s")
    plan = plan_for(source, stretch=3.0)
    result = run(plan, source, tmp_path / "out")
    assert any(edit.scale is not None and edit.stretch == 3.0 for edit in plan.edits)
    assert audit(plan, source, result).problems == ()


def test_workers_and_tiles_do_not_change_a_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama tied, biases"], dtype=torch.bfloat16)
    plan = plan_for(source, stretch=2.0)
    monkeypatch.setattr(spans, "COPY_BYTES", 1000)
    first, second = (run(plan, source, tmp_path / str(n), workers=n) for n in (1, 4))
    assert contents(first.folder) == contents(second.folder)


def test_biases_are_not_rescaled(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama tied, biases"])
    plan = plan_for(source, stretch=2.0)
    assert {edit.stretch for edit in plan.edits if edit.bias} == {None}
    plain = run(plan_for(source), source, tmp_path / "plain")
    result = run(plan, source, tmp_path / "out")
    bias = next(edit.tensor for edit in plan.edits if edit.bias)
    assert torch.equal(read_tensor(result, bias), read_tensor(plain, bias))
    assert any("gets its length back" in note for note in plan.notes)


def test_a_result_that_did_not_keep_them_is_a_problem(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"], dtype=torch.bfloat16)
    plain = run(plan_for(source), source, tmp_path / "plain")
    assert len(audit(plan_for(source, stretch=2.0), source, plain).problems) > 2


def test_the_record_carries_the_limit(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"], dtype=torch.bfloat16)
    _, out = make_result(source, tmp_path / "out", stretch=1.5)
    assert recheck(out, source.folder).problems == ()
    text = (out / "surgery" / "plan.json").read_text()
    (out / "surgery" / "plan.json").write_text(text.replace('"stretch": 1.5', '"stretch": null'))
    assert any("steps away" in problem for problem in recheck(out, source.folder).problems)


def test_an_adapter_cannot_hold_it(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"])
    with pytest.raises(EditError, match="change by no low rank"):
        make_adapter(plan_for(source, stretch=2.0), [], source, anatomy_of(source), base="x")
