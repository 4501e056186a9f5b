"""A finished result for the tests of what reads one back: what `surgery apply` leaves, without its
measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.sums import write_sums
from surgery.direction.direction import unit_direction, write_directions
from surgery.edit.audit import audit, audit_as_json
from surgery.edit.executor import execute
from surgery.edit.plan import Plan, make_plan
from surgery.edit.plan_record import plan_as_json
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import anatomy_of, directions


def make_result(
    source: Checkpoint, out: Path, steps: list[Ablate] | None = None, **options: Any
) -> tuple[Plan, Path]:
    """Carry a plan out and leave its record beside the weights, with the source as the base."""
    found = {name: unit_direction(vector) for name, vector in directions(4).items()}
    vectors: dict[str, np.ndarray] = {name: each.vector for name, each in found.items()}
    steps = [Ablate(ablate="r0")] if steps is None else steps
    plan = make_plan(source, anatomy_of(source), steps, vectors, **options)
    out.mkdir()
    sums = execute(plan, source, out)
    record = out / "surgery"
    record.mkdir()
    (record / "plan.json").write_text(json.dumps(plan_as_json(plan)))
    write_directions(record / "direction.safetensors", found)
    report = {"model": {"source": str(source.folder), "commit": None, "revision": None}}
    (record / "report.json").write_text(json.dumps(report))
    found = audit(plan, source, open_checkpoint(out))
    (record / "audit.json").write_text(json.dumps(audit_as_json(found)))
    write_sums(out, sums)
    return plan, out
