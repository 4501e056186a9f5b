"""The audit finds what is wrong: strengths, single elements, single bytes; and passes what is right."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.edit.audit import audit, audit_as_json
from surgery.edit.plan import Plan
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import make_source, plan_for, run
from tests.model.family_configs import CONFIGS

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


@pytest.fixture
def source(tmp_path: Path) -> Checkpoint:
    return make_source(tmp_path / "source", CONFIGS["gemma2"], dtype=torch.bfloat16, shards=2)


def _flip(folder: Path, name: str, offset: int, mask: int = 1) -> Checkpoint:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)
    return open_checkpoint(folder)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
@pytest.mark.parametrize("strength", [1.0, 0.5, -1.0, 2.0])
def test_passes_what_was_done(tmp_path: Path, dtype: str, rounding: Any, strength: float) -> None:
    source = make_source(tmp_path / "s", CONFIGS["gemma2 bias, untied"], dtype=TYPES[dtype])
    plan = plan_for(source, [Ablate(ablate="r0", strength=strength), Ablate(ablate="r1")], rounding=rounding)
    result = audit(plan, source, run(plan, source, tmp_path / "out"))
    assert result.problems == () and result.untouched_identical
    assert len(result.rows) == len(plan.edits) and all(row.finite for row in result.rows)
    loose = {"F32": 1e-5, "F64": 1e-12, "BF16": 0.05, "F16": 0.005}[dtype]
    assert result.max_leak < loose
    for row in result.rows:
        assert row.achieved == pytest.approx((strength, 1.0), abs=loose)
    assert json.loads(json.dumps(audit_as_json(result)))["tensors"][0]["strengths"] == [strength, 1.0]


def test_feedback_leaks_less_in_every_matrix(source: Checkpoint, tmp_path: Path) -> None:
    """Whichever way round it lies: an embedding has the residual axis last."""
    leaks: dict[str, dict[str, float]] = {}
    for rounding in ("nearest", "feedback"):
        plan = plan_for(source, rounding=rounding)
        rows = audit(plan, source, run(plan, source, tmp_path / rounding)).rows
        leaks[rounding] = {row.tensor: row.leak for row in rows if len(source.shapes[row.tensor]) > 1}
    assert {edit.residual_axis for edit in plan.edits if len(edit.shape) > 1} == {0, 1}
    for name, leak in leaks["feedback"].items():
        assert leak < leaks["nearest"][name] / 3, name


def _pretend(plan: Plan, strength: float) -> Plan:
    return replace(plan, edits=tuple(replace(edit, strengths=(strength,)) for edit in plan.edits))


def test_a_strength_that_was_not_reached_is_a_problem(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source, [Ablate(ablate="r0", strength=0.9)])
    result = audit(_pretend(plan, 1.0), source, run(plan, source, tmp_path / "out"))
    assert len(result.problems) == len(plan.edits)
    assert "instead of 1" in result.problems[0] and result.max_leak == pytest.approx(0.1, abs=0.03)


def test_an_edit_that_ignored_the_norm_is_a_problem(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    naive = replace(plan, edits=tuple(replace(edit, gain=None) for edit in plan.edits))
    result = audit(plan, source, run(naive, source, tmp_path / "out"))
    assert {problem.split(":")[0] for problem in result.problems} == {
        edit.tensor for edit in plan.edits if edit.gain is not None
    }


def test_one_element_one_step_off_is_a_problem(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    run(plan, source, tmp_path / "out")
    edit = plan.edits[2]
    result = audit(
        plan, source, _flip(tmp_path / "out", edit.file, edit.start + 100)
    )  # last bit of one bfloat16
    assert len(result.problems) == 1 and result.problems[0].startswith(f"{edit.tensor}: an element is")


def test_an_infinity_is_a_problem(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    run(plan, source, tmp_path / "out")
    edit = plan.edits[0]
    path = tmp_path / "out" / edit.file
    data = bytearray(path.read_bytes())
    data[edit.start : edit.start + 2] = b"\x80\x7f"
    path.write_bytes(data)
    result = audit(plan, source, open_checkpoint(tmp_path / "out"))
    assert result.problems == (f"{edit.tensor}: holds a NaN or an infinity after the edit",)
    json.dumps(audit_as_json(result), allow_nan=False)


def test_one_byte_outside_the_plan_is_a_problem(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    run(plan, source, tmp_path / "out")
    name, entry = source.entry("model.layers.1.self_attn.q_proj.weight")
    result = audit(plan, source, _flip(tmp_path / "out", name, entry.start))
    assert not result.untouched_identical
    assert len(result.problems) == 1 and "which the plan does not touch" in result.problems[0]


def test_a_side_file_that_changed_is_a_problem_unless_it_was_meant_to(
    source: Checkpoint, tmp_path: Path
) -> None:
    plan = plan_for(source)
    run(plan, source, tmp_path / "out")
    edited = _flip(tmp_path / "out", "LICENSE", 3)
    assert audit(plan, source, edited).problems == ("LICENSE: differs from the source's",)
    assert audit(plan, source, edited, replaced=("LICENSE",)).problems == ()
    (tmp_path / "out" / "big.dat").unlink()
    problems = audit(plan, source, open_checkpoint(tmp_path / "out"), replaced=("LICENSE",)).problems
    assert problems == ("big.dat: is missing in the result",)


def test_a_changed_header_is_a_problem(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    run(plan, source, tmp_path / "out")
    name = next(iter(source.headers))
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes().replace(b'"note"', b'"nope"', 1))
    result = audit(plan, source, open_checkpoint(tmp_path / "out"))
    assert (
        f"{name}: its header differs from the source's" in result.problems and not result.untouched_identical
    )


def test_a_source_with_nothing_to_remove_is_at_the_floor(tmp_path: Path, source: Checkpoint) -> None:
    plan = plan_for(source)
    once = run(plan, source, tmp_path / "once")
    again = plan_for(once)
    result = audit(again, once, run(again, once, tmp_path / "twice"))
    matrices = [row for row in result.rows if len(once.shapes[row.tensor]) == 2]
    assert all(row.at_floor for row in matrices) and result.problems == ()
