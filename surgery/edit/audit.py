"""Reading the result back from disk: did the edit do what the plan says, and nothing else?

For a tensor with basis q and strengths λ, with T = qᵀW of the source and T' = qᵀW' of the result,

    leak = ‖T' − (1 − λ)∘T‖ / ‖T‖        (at strength 1: ‖qᵀW'‖ / ‖qᵀW‖)
    achieved strength of direction i = 1 − ⟨T'_i, T_i⟩ / ‖T_i‖²

The leak is held to the rounding noise that the stored precision must leave, u √(Σ q_i² w'_ij² / 3) / ‖T‖ with u the unit roundoff.
Where the source itself holds nothing along q beyond that noise, the ratio says nothing and the row is marked `at_floor`.
Everything outside the plan must be the same byte for byte: headers, other tensors, side files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.hashes import same_file, same_range
from surgery.checkpoint.layout import Checkpoint
from surgery.edit.basis import tensor_basis
from surgery.edit.components import Components, measure_components
from surgery.edit.executor import unedited_spans
from surgery.edit.plan import Plan, TensorEdit
from surgery.edit.tiles import steady_arithmetic

Array = npt.NDArray[np.float64]

UNIT_ROUNDOFF = {"BF16": 2.0**-8, "F16": 2.0**-11, "F32": 2.0**-22, "F64": 2.0**-50}
"""Unit roundoff of each stored type; float32 and float64 with room for the arithmetic, which runs in the same type."""

_TOLERANCE = 5.0


@dataclass(frozen=True)
class AuditRow:
    """One edited tensor, measured from disk. `leak`, `floor` and `achieved` are defined in the module's text."""

    tensor: str
    file: str
    role: str
    layer: int | None
    strengths: tuple[float, ...]
    achieved: tuple[float, ...]
    leak: float
    floor: float
    at_floor: bool
    finite: bool


@dataclass(frozen=True)
class Audit:
    """The whole reading. `max_leak` is over the rows that are not `at_floor`; `problems` is empty when all is as planned."""

    rows: tuple[AuditRow, ...]
    max_leak: float
    untouched_identical: bool
    problems: tuple[str, ...]


def audit(plan: Plan, base: Checkpoint, edited: Checkpoint, *, replaced: Collection[str] = ()) -> Audit:
    """Compare an edited checkpoint with its source and its plan, from the bytes on disk.

    Args:
        plan: what was to be done.
        base: the source.
        edited: the result.
        replaced: side files that were meant to change (a model card); they are not compared.
    """
    with steady_arithmetic():
        rows = tuple(_row(edit, plan, base, edited) for edit in plan.edits)
    differing = list(_differences(plan, base, edited, replaced))
    leaks = [row.leak for row in rows if not row.at_floor]
    problems = [problem for row in rows for problem in _row_problems(row)]
    return Audit(rows, max(leaks, default=0.0), not differing, (*problems, *differing))


def audit_as_json(result: Audit) -> dict[str, Any]:
    """The audit as plain data."""
    return {
        "max_leak": result.max_leak,
        "untouched_identical": result.untouched_identical,
        "problems": list(result.problems),
        "tensors": [
            {
                "tensor": row.tensor,
                "file": row.file,
                "role": row.role,
                "layer": row.layer,
                "strengths": list(row.strengths),
                "achieved": list(row.achieved),
                "leak": row.leak if np.isfinite(row.leak) else None,
                "floor": row.floor if np.isfinite(row.floor) else None,
                "at_floor": row.at_floor,
                "finite": row.finite,
            }
            for row in result.rows
        ],
    }


def _row(edit: TensorEdit, plan: Plan, base: Checkpoint, edited: Checkpoint) -> AuditRow:
    basis = tensor_basis(edit, plan, base)
    before = measure_components(base.folder / edit.file, edit, basis)
    after = measure_components(edited.folder / edit.file, edit, basis)
    strengths = np.array(edit.strengths)[:, None]
    size = float(np.linalg.norm(before.along))
    noise = max(_noise(edit, before), _noise(edit, after))
    deviation = float(np.linalg.norm(after.along - (1 - strengths) * before.along))
    at_floor = size <= _TOLERANCE * noise
    scale = size or 1.0
    return AuditRow(
        tensor=edit.tensor,
        file=edit.file,
        role=edit.role,
        layer=edit.layer,
        strengths=edit.strengths,
        achieved=_achieved(before.along, after.along),
        leak=deviation / scale,
        floor=noise / scale,
        at_floor=at_floor,
        finite=after.finite,
    )


def _noise(edit: TensorEdit, components: Components) -> float:
    return UNIT_ROUNDOFF[edit.dtype] * float(np.sqrt(components.weight.sum() / 3))


def _achieved(before: Array, after: Array) -> tuple[float, ...]:
    squares = (before**2).sum(1)
    products = (before * after).sum(1)
    return tuple(float(1 - p / s) if s > 0 else 0.0 for p, s in zip(products, squares, strict=True))


def _row_problems(row: AuditRow) -> Iterator[str]:
    if not row.finite:
        yield f"{row.tensor}: holds a NaN or an infinity after the edit"
    elif row.leak > _TOLERANCE * row.floor:
        yield (
            f"{row.tensor}: {row.leak:.2e} of the component is not as planned; rounding explains {row.floor:.2e}"
            f" (strength {', '.join(f'{each:.4f}' for each in row.achieved)} instead of"
            f" {', '.join(f'{each:g}' for each in row.strengths)})"
        )


def _differences(plan: Plan, base: Checkpoint, edited: Checkpoint, replaced: Collection[str]) -> Iterator[str]:
    for name, header in base.headers.items():
        other = edited.headers.get(name)
        if other is None:
            yield f"{name}: is missing in the result"
        elif other.raw != header.raw:
            yield f"{name}: its header differs from the source's"
        else:
            edits = [edit for edit in plan.edits if edit.file == name]
            first, second = base.folder / name, edited.folder / name
            for start, end in unedited_spans(header, edits):
                if not same_range(first, second, start, end):
                    yield f"{name}: bytes {start:,} to {end:,} differ, which the plan does not touch"
    for name in edited.headers:
        if name not in base.headers:
            yield f"{name}: is not in the source"
    for name in base.side_files:
        if name in replaced:
            continue
        if name not in edited.side_files:
            yield f"{name}: is missing in the result"
        elif not same_file(base.folder / name, edited.folder / name):
            yield f"{name}: differs from the source's"
