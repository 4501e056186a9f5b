"""A plan as plain data, and read back from beside a result: `surgery/plan.json` and
`surgery/direction.safetensors`.

The record is data from outside: each edit must name a tensor that stands in the checkpoint as the record
says, and each direction must have the SHA-256 that the plan gives it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.header import parse_json, read_header
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.quantisation import FP8, Scale, find_scale
from surgery.edit.plan import Plan, Rounding, TensorEdit
from surgery.edit.untying import Untying
from surgery.errors import CheckpointError, SourceError
from surgery.model.anatomy import Gain

Array = npt.NDArray[np.float64]

PLAN_FILE = "plan.json"
DIRECTION_FILE = "direction.safetensors"


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain data: every edit, and each direction by the SHA-256 of its float64 bytes."""
    return {
        "rounding": plan.rounding,
        "total_bytes": plan.total_bytes,
        "edited_bytes": plan.edited_bytes,
        "notes": list(plan.notes),
        "untying": None if plan.untying is None else asdict(plan.untying),
        "directions": {
            name: {
                "d_model": len(vector),
                "sha256": hashlib.sha256(vector.astype("<f8").tobytes()).hexdigest(),
            }
            for name, vector in plan.vectors.items()
        },
        "edits": [_edit_as_json(edit) for edit in plan.edits],
    }


def _edit_as_json(edit: TensorEdit) -> dict[str, Any]:
    return {
        "file": edit.file,
        "tensor": edit.tensor,
        "role": edit.role,
        "layer": edit.layer,
        "residual_axis": edit.residual_axis,
        "dtype": edit.dtype,
        "shape": list(edit.shape),
        "bytes": [edit.start, edit.end],
        "gain": gain_as_json(edit.gain),
        "bias": edit.bias,
        "scale": None
        if edit.scale is None
        else {"tensor": edit.scale.tensor, "block": list(edit.scale.block)},
        "stretch": edit.stretch,
        "why": edit.why,
        "directions": [
            {"name": name, "strength": strength}
            for name, strength in zip(edit.directions, edit.strengths, strict=True)
        ],
    }


def gain_as_json(gain: Gain | None) -> dict[str, Any] | None:
    """A norm behind a writer, with those that follow it, as plain data."""
    if gain is None:
        return None
    return {
        "tensor": gain.tensor,
        "offset": gain.offset,
        "centred": gain.centred,
        "taps": gain.taps,
        "then": gain_as_json(gain.then),
    }


def read_plan(folder: Path, checkpoint: Checkpoint) -> Plan:
    """The plan of a result.

    Args:
        folder: `<out>/surgery`.
        checkpoint: the checkpoint that the plan is about, source or result: both have the same layout.

    Raises:
        SourceError: the folder holds no plan.
        CheckpointError: the record is malformed, or is not of this checkpoint.
    """
    path = folder / PLAN_FILE
    record = read_record(path)
    try:
        plan = Plan(
            edits=tuple(_edit(each) for each in record["edits"]),
            vectors=_vectors(folder / DIRECTION_FILE, record["directions"]),
            rounding=record["rounding"],
            notes=tuple(record["notes"]),
            total_bytes=record["total_bytes"],
            edited_bytes=record["edited_bytes"],
            untying=Untying(**record["untying"]) if record.get("untying") else None,
        )
        if plan.rounding not in get_args(Rounding):
            raise ValueError(f"rounding {plan.rounding!r}")
        for edit in plan.edits:
            _check_place(path, plan, edit, checkpoint)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: is not a plan of this version ({type(error).__name__}: {error})"
        ) from error
    if len({edit.tensor for edit in plan.edits}) < len(plan.edits):
        raise CheckpointError(f"{path}: edits one tensor twice; a plan edits each at most once")
    return plan


def read_record(path: Path) -> Any:
    """A JSON file of a result's record.

    Raises:
        SourceError: it is not there.
        CheckpointError: it is not JSON.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"{path}: cannot be read ({error.strerror}); name the output folder of a `surgery apply`"
        ) from error
    return parse_json(text, str(path))


def _edit(record: Mapping[str, Any]) -> TensorEdit:
    scale = record.get("scale")
    return TensorEdit(
        file=record["file"],
        tensor=record["tensor"],
        role=record["role"],
        layer=record["layer"],
        residual_axis=record["residual_axis"],
        dtype=record["dtype"],
        shape=tuple(record["shape"]),
        start=record["bytes"][0],
        end=record["bytes"][1],
        gain=_gain(record["gain"]),
        bias=record["bias"],
        why=record["why"],
        directions=tuple(each["name"] for each in record["directions"]),
        strengths=tuple(float(each["strength"]) for each in record["directions"]),
        scale=None if scale is None else Scale(scale["tensor"], (scale["block"][0], scale["block"][1])),
        stretch=None if record.get("stretch") is None else float(record["stretch"]),
    )


def _gain(record: Mapping[str, Any] | None) -> Gain | None:
    """A norm, and whatever norm stands behind it, under the names of the dataclass."""
    return None if record is None else Gain(**{**record, "then": _gain(record.get("then"))})


def _vectors(path: Path, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, Array]:
    header, data = read_header(path), path.read_bytes()
    vectors: dict[str, Array] = {}
    for name, said in wanted.items():
        entry = header.tensors[name]
        stored = np.frombuffer(data[entry.start : entry.end], "<f4").astype(np.float64)
        vector = stored / np.linalg.norm(stored)
        if hashlib.sha256(vector.astype("<f8").tobytes()).hexdigest() != said["sha256"]:
            raise CheckpointError(f"{path}: direction {name!r} is not the one that the plan was made with")
        vectors[name] = vector
    return vectors


def _check_place(path: Path, plan: Plan, edit: TensorEdit, checkpoint: Checkpoint) -> None:
    file, entry = checkpoint.entry(edit.tensor)
    moved = plan.untying is not None and plan.untying.unembedding in checkpoint.tensors  # this is the result
    start = edit.start if moved else entry.start
    here = (file, entry.dtype, list(entry.shape), start, start + entry.n_bytes)
    said = (edit.file, edit.dtype, list(edit.shape), edit.start, edit.end)
    if here != said:
        raise CheckpointError(
            f"{path}: says that {edit.tensor} stands in {_place(*said)}, but {checkpoint.folder} has it in"
            f" {_place(*here)}: another checkpoint"
        )
    scale = find_scale(checkpoint.config, edit.tensor, checkpoint.shapes) if edit.dtype in FP8 else None
    if edit.scale != scale:
        raise CheckpointError(f"{path}: the scales of {edit.tensor} are not those in {checkpoint.folder}")
    widths = {len(plan.vectors[name]) for name in edit.directions}
    if not 0 <= edit.residual_axis < len(edit.shape) or widths != {edit.shape[edit.residual_axis]}:
        raise CheckpointError(
            f"{path}: the directions of {edit.tensor} do not fit its axis {edit.residual_axis}"
        )
    for gain in edit.gain.chain() if edit.gain is not None else ():
        shape = checkpoint.shapes.get(gain.tensor, ())
        if len(shape) != (3 if gain.taps else 1) or {shape[0]} != widths:
            raise CheckpointError(
                f"{path}: {gain.tensor} does not stand behind {edit.tensor}, it has shape {list(shape)}"
            )


def _place(file: str, dtype: str, shape: list[int], start: int, end: int) -> str:
    return f"{file} as {dtype} {shape} at bytes {start} to {end}"
