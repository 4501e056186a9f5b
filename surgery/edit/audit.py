"""Reading the result back from disk: did the edit do what the plan says, and nothing else?

For a tensor with basis q and strengths λ, with T = qᵀW of the source and T' = qᵀW' of the result,

    leak = ‖T' − (1 − λ)∘T‖ / ‖T‖        (at strength 1: ‖qᵀW'‖ / ‖qᵀW‖)
    achieved strength of direction i = 1 − ⟨T'_i, T_i⟩ / ‖T_i‖²

Where columns keep their length, T is multiplied by their factors first.

Rounding to the stored type leaves a leak that depends on the weights (bfloat16: of order 1e-2 to 1e-3), so a
limit on it would prove little. What is held to a limit is every single element: it must be the exact result
rounded, half a step away at most with nearest rounding, two with feedback. Where the source itself holds
nothing along q beyond its own rounding, the leak is a ratio of noise and the row is marked `at_floor`.
Everything outside the plan must be the same byte for byte: headers, other tensors, side files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.hashes import same_file, same_range
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.workers import available_cores
from surgery.edit.basis import Basis, tensor_basis
from surgery.edit.plan import Plan, Rounding, TensorEdit
from surgery.edit.projector import rounding_of
from surgery.edit.reading import Comparison, compare_tensor
from surgery.edit.spans import Span, shift_of, weight_spans
from surgery.edit.tiles import layout_of, steady_arithmetic
from surgery.edit.untying import result_header, rewritten_files

Array = npt.NDArray[np.float64]

STEPS_ALLOWED: dict[Rounding, float] = {"nearest": 0.5, "feedback": 2.0}
"""How far a written element may be from the exact one, in steps of the stored type."""

_HAIR = 1e-3
_MISSED = 1e-2
_ROUNDOFF = {
    "BF16": 2.0**-8,
    "F16": 2.0**-11,
    "F32": 2.0**-22,
    "F64": 2.0**-50,
    "F8_E4M3": 2.0**-4,
    "F8_E5M2": 2.0**-3,
}
_AT_FLOOR = 5.0


@dataclass(frozen=True)
class AuditRow:
    """One edited tensor, measured from disk.

    `leak` and `achieved` are defined in the module's text; `off_by` bounds the distance of every element from
    the exact result, in steps of the stored type; `at_floor` says that the source had nothing to remove
    beyond rounding; `sha256_before` and `sha256` are of its bytes in source and result.
    """

    tensor: str
    file: str
    role: str
    layer: int | None
    rounding: Rounding
    strengths: tuple[float, ...]
    achieved: tuple[float, ...]
    leak: float
    off_by: float
    at_floor: bool
    finite: bool
    sha256_before: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Audit:
    """The whole reading. `max_leak` is over the rows that are not `at_floor`; `problems` is empty when all is
    as planned.
    """

    rows: tuple[AuditRow, ...]
    max_leak: float
    untouched_identical: bool
    problems: tuple[str, ...]


def audit(
    plan: Plan,
    base: Checkpoint,
    edited: Checkpoint,
    *,
    replaced: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Compare an edited checkpoint with its source and its plan, from the bytes on disk.

    Args:
        plan: what was to be done.
        base: the source.
        edited: the result.
        replaced: files, and folders with a slash behind, that were meant to change or to come (a model
            card); they are not compared.
        progress: called with (bytes of edited tensors measured, bytes of them in all).
    """
    same = all(
        edited.headers[name].raw == result_header(plan.untying, header, name)
        for name, header in base.headers.items()
        if name in edited.headers
    )
    present = [edit for edit in plan.edits if edit.file in edited.headers and same]
    with steady_arithmetic(), ThreadPoolExecutor(available_cores()) as pool:
        reading = [pool.submit(_row, edit, plan, base, edited) for edit in present]
        looking = _compare_bytes(plan, base, edited, replaced, pool)
        rows = tuple(_told(reading, present, progress))
        differing = [
            *_header_differences(plan, base, edited),
            *_strangers(base, edited, replaced),
            *(said for each in looking if (said := each.result())),
        ]
    leaks = [row.leak for row in rows if not row.at_floor]
    problems = [problem for row in rows for problem in _row_problems(row)]
    return Audit(rows, max(leaks, default=0.0), not differing, (*problems, *differing))


def _told(
    reading: Sequence[Future[AuditRow]],
    edits: Sequence[TensorEdit],
    progress: Callable[[int, int], None] | None,
) -> Iterator[AuditRow]:
    """The rows in the plan's order, each told to whoever watches."""
    done, total = 0, sum(edit.end - edit.start for edit in edits)
    for each, edit in zip(reading, edits, strict=True):
        yield each.result()
        done += edit.end - edit.start
        if progress is not None:
            progress(done, total)


def audit_as_json(result: Audit) -> dict[str, Any]:
    """The audit as plain data."""
    return {
        "max_leak": _finite(result.max_leak),
        "untouched_identical": result.untouched_identical,
        "problems": list(result.problems),
        "tensors": [
            asdict(row)
            | {
                "achieved": [_finite(each) for each in row.achieved],
                "leak": _finite(row.leak),
                "off_by": _finite(row.off_by),
            }
            for row in result.rows
        ],
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _row(edit: TensorEdit, plan: Plan, base: Checkpoint, edited: Checkpoint) -> AuditRow:
    basis = tensor_basis(edit, plan, base)
    rounding = rounding_of(edit, plan.rounding)
    read = compare_tensor(
        base.folder / edit.file,
        edited.folder / edit.file,
        edit,
        basis,
        layout=layout_of(edit, base, shift=shift_of(plan, base, edit)),
        neighbours=rounding == "feedback",
    )
    size = float(np.linalg.norm(read.before.along))
    noise = _ROUNDOFF[edit.dtype] * float(np.sqrt(read.before.weight / 3))
    return AuditRow(
        tensor=edit.tensor,
        file=edit.file,
        role=edit.role,
        layer=edit.layer,
        rounding=rounding,
        strengths=basis.strengths,
        achieved=_achieved(read),
        leak=_deviation(basis, read) / (size or 1.0),
        off_by=read.off_by,
        at_floor=size <= _AT_FLOOR * noise,
        finite=read.finite,
        sha256_before=read.before.sha256,
        sha256=read.sha256,
    )


def _deviation(basis: Basis, read: Comparison) -> float:
    kept = 1 - np.array(basis.strengths)[:, None]
    return float(np.linalg.norm(read.after - kept * read.before.along * read.stretch))


def _achieved(read: Comparison) -> tuple[float, ...]:
    along = read.before.along * read.stretch
    squares = (along**2).sum(1)
    products = (along * read.after).sum(1)
    return tuple(float(1 - p / s) if s > 0 else 0.0 for p, s in zip(products, squares, strict=True))


def _row_problems(row: AuditRow) -> Iterator[str]:
    if not row.finite:
        yield f"{row.tensor}: holds a NaN or an infinity after the edit"
    elif not row.off_by <= STEPS_ALLOWED[row.rounding] + _HAIR:
        reached = ", ".join(f"{each:.4f}" for each in row.achieved)
        wanted = ", ".join(f"{each:g}" for each in row.strengths)
        missed = any(abs(a - b) > _MISSED for a, b in zip(row.achieved, row.strengths, strict=True))
        yield (
            f"{row.tensor}: an element is {row.off_by:.3g} steps away from the exact result, where"
            f" {row.rounding} rounding allows {STEPS_ALLOWED[row.rounding]:g}"
            + (f" (strength {reached} instead of {wanted})" if missed else "")
        )


def _header_differences(plan: Plan, base: Checkpoint, edited: Checkpoint) -> Iterator[str]:
    for name, header in base.headers.items():
        other = edited.headers.get(name)
        if other is None:
            yield f"{name}: is missing in the result"
        elif other.raw != result_header(plan.untying, header, name):
            yield f"{name}: its header differs from the source's"
    for name in edited.headers:
        if name not in base.headers:
            yield f"{name}: is not in the source"


def _strangers(base: Checkpoint, edited: Checkpoint, replaced: Collection[str]) -> Iterator[str]:
    for name in (*edited.side_files, *edited.left_out):
        if name not in base.side_files and name not in replaced:
            yield f"{name}: is not in the source"


def _compare_bytes(
    plan: Plan, base: Checkpoint, edited: Checkpoint, replaced: Collection[str], pool: Executor
) -> list[Future[str | None]]:
    """What differs in the bytes that no edit touches, every range read by some thread of the pool."""
    looking: list[Future[str | None]] = []
    for name, header in base.headers.items():
        other = edited.headers.get(name)
        if other is not None and other.raw == result_header(plan.untying, header, name):
            spans = [span for span in weight_spans(plan, base, name) if span.edit is None]
            looking += [pool.submit(_range_difference, base, edited, name, span) for span in spans]
    rewritten = rewritten_files(plan.untying, base)
    for name in base.side_files:
        if name not in replaced:
            looking.append(pool.submit(_file_difference, base, edited, name, rewritten.get(name)))
    return looking


def _range_difference(base: Checkpoint, edited: Checkpoint, name: str, span: Span) -> str | None:
    start, end = span.start - span.shift, span.end - span.shift
    if same_range(base.folder / name, edited.folder / name, start, end, shift=span.shift):
        return None
    return f"{name}: bytes {span.start:,} to {span.end:,} differ, which the plan does not touch"


def _file_difference(base: Checkpoint, edited: Checkpoint, name: str, wanted: bytes | None) -> str | None:
    """What is wrong with a side file; `wanted` is what the plan makes of it, None where it is copied."""
    if name not in edited.side_files:
        return f"{name}: is missing in the result"
    if wanted is not None:
        same = (edited.folder / name).read_bytes() == wanted
        return None if same else f"{name}: is not what the plan makes of the source's"
    same = same_file(base.folder / name, edited.folder / name)
    return None if same else f"{name}: differs from the source's"
