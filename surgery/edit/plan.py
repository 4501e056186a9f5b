"""What will change and why: one entry a tensor, made from headers and config alone.

A plan is complete before anything is written. Every tensor stands in it at most once; where several ablations
meet in one tensor their directions are orthonormalised together, in the order of the steps
(`surgery.linalg.projection` says what the strengths then mean). A step of strength 0 plans nothing, so its
result is the source's bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.dtypes import EDITABLE
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.quantisation import FP8, Scale, find_scale
from surgery.edit.kernel import named_layers, strength_at
from surgery.edit.notes import plan_notes
from surgery.edit.untying import Untying, added_bytes, check_copies, plan_untying
from surgery.errors import EditError
from surgery.model.anatomy import Anatomy, Gain, Role, Writer
from surgery.recipe.editing import Ablate, Edit

Array = npt.NDArray[np.float64]
Rounding = Literal["nearest", "feedback"]
Tied = Literal["accept", "untie", "skip"]


@dataclass(frozen=True)
class TensorEdit:
    """One tensor that will be projected.

    `start` and `end` are its byte range in `file`; `gain` the norm that its output passes before the stream;
    `directions` and `strengths` run side by side, in the order in which they are orthonormalised. `stretch`
    is the most by which a column is made longer to get its length back, None where columns are left as they
    come out.
    """

    file: str
    tensor: str
    role: Role
    layer: int | None
    residual_axis: int
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int
    gain: Gain | None
    bias: bool
    why: str
    directions: tuple[str, ...]
    strengths: tuple[float, ...]
    scale: Scale | None = None  # of an FP8 matrix
    stretch: float | None = None


@dataclass(frozen=True)
class Plan:
    """Every edit, in file order, with the unit directions they name (d_model,) and what a reader should know
    about them.

    `total_bytes` is the size of the whole result, `edited_bytes` that of the tensors in `edits`; `untying`
    says how the unembedding is kept apart, where it is.
    """

    edits: tuple[TensorEdit, ...]
    vectors: Mapping[str, Array]
    rounding: Rounding
    notes: tuple[str, ...]
    total_bytes: int
    edited_bytes: int
    untying: Untying | None = None


def make_plan(
    checkpoint: Checkpoint,
    anatomy: Anatomy,
    steps: Sequence[Ablate],
    vectors: Mapping[str, npt.NDArray[Any]],
    *,
    rounding: Rounding = "nearest",
    tied: Tied = "accept",
    stretch: float | None = None,
) -> Plan:
    """Turn ablation steps into edits of single tensors.

    Args:
        checkpoint: the source.
        anatomy: its writers.
        steps: the ablations, in order.
        vectors: name → direction (d_model,), of any length; at least those that the steps name.
        rounding: how edited values return to the stored precision.
        tied: what happens to an embedding that is also the unembedding.
        stretch: give every column of an edited matrix its length back, by at most this factor; None does not.

    Raises:
        EditError: a direction is missing, of the wrong width, zero or not finite; a layer does not exist; one
            direction is ablated twice in one tensor; a writer is stored in a type that cannot be projected.
    """
    active = [step for step in steps if step.strength != 0]
    _check_layers(steps, anatomy)
    units = {step.ablate: _unit(step.ablate, vectors, anatomy.d_model) for step in steps}
    edits = [
        _edit(checkpoint, writer, chosen, tied, stretch)
        for writer in anatomy.writers
        if (chosen := _chosen(active, writer, tied, anatomy))
    ]
    edits.sort(key=lambda edit: (edit.file, edit.start))
    edited = {edit.tensor: edit.directions for edit in edits}
    reached = any(writer.tied and _reaches(step, writer) for writer in anatomy.writers for step in active)
    untying = plan_untying(checkpoint, anatomy) if tied == "untie" and reached else None
    return Plan(
        edits=tuple(edits),
        vectors=units,
        rounding=rounding,
        notes=plan_notes(checkpoint, anatomy, active, edited, tied=tied, stretch=stretch) if steps else (),
        total_bytes=checkpoint.total_bytes + added_bytes(untying, checkpoint),
        edited_bytes=sum(edit.end - edit.start for edit in edits),
        untying=untying,
    )


def plan_edit(
    checkpoint: Checkpoint, anatomy: Anatomy, edit: Edit, vectors: Mapping[str, npt.NDArray[Any]]
) -> Plan:
    """The plan of a recipe's whole `edit` section; see `make_plan`.

    Raises:
        EditError: beside that, copies of a tied embedding that differ would be edited.
    """
    plan = make_plan(
        checkpoint,
        anatomy,
        [step for step in edit.steps if isinstance(step, Ablate)],
        vectors,
        rounding=edit.rounding,
        tied=edit.tied,
        stretch=edit.stretch_at_most if edit.keep == "column_norms" else None,
    )
    if {each.tensor for each in plan.edits} & {writer.tensor for writer in anatomy.writers if writer.tied}:
        check_copies(checkpoint, anatomy)
    return plan


def _unit(name: str, vectors: Mapping[str, npt.NDArray[Any]], d_model: int) -> Array:
    if name not in vectors:
        raise EditError(
            f"direction {name!r}: was not found before the edit; there are"
            f" {', '.join(sorted(vectors)) or 'none'}"
        )
    vector = np.asarray(vectors[name], dtype=np.float64)
    if vector.shape != (d_model,):
        raise EditError(
            f"direction {name!r}: has shape {list(vector.shape)}, the model's stream is [{d_model}] wide;"
            " it belongs to another model"
        )
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length == 0:
        raise EditError(
            f"direction {name!r}: is zero or not finite, so there is nothing to project on; find it anew"
        )
    return vector / length


def _check_layers(steps: Sequence[Ablate], anatomy: Anatomy) -> None:
    for step in steps:
        beyond = [layer for layer in named_layers(step) if layer >= anatomy.n_layers]
        if beyond:
            raise EditError(
                f"ablate {step.ablate!r}: there is no layer {beyond[0]}; this model has layers 0 to"
                f" {anatomy.n_layers - 1}"
            )


def _chosen(steps: Sequence[Ablate], writer: Writer, tied: Tied, anatomy: Anatomy) -> list[Ablate]:
    if writer.tied and (tied == "skip" or (tied == "untie" and writer.tensor == anatomy.unembedding)):
        return []
    return [step for step in steps if _reaches(step, writer)]


def _reaches(step: Ablate, writer: Writer) -> bool:
    in_role = step.writers == "all" or writer.role in step.writers
    return in_role and strength_at(step, writer.layer) != 0


def _edit(
    checkpoint: Checkpoint, writer: Writer, steps: Sequence[Ablate], tied: Tied, stretch: float | None
) -> TensorEdit:
    file, entry = checkpoint.entry(writer.tensor)
    names = tuple(step.ablate for step in steps)
    for name in names:
        if names.count(name) > 1:
            raise EditError(
                f"{writer.tensor}: two steps ablate {name!r} in it; put both strengths into one step or"
                " give their layers apart"
            )
    scale = find_scale(checkpoint.config, writer.tensor, checkpoint.shapes) if entry.dtype in FP8 else None
    if entry.dtype not in EDITABLE and scale is None:
        raise EditError(
            f"{writer.tensor}: is stored as {entry.dtype}, whose elements mean nothing without their scales,"
            " and no scales of a known form stand beside it; give a checkpoint in"
            f" {', '.join(sorted(EDITABLE))}"
        )
    return TensorEdit(
        file=file,
        tensor=writer.tensor,
        role=writer.role,
        layer=writer.layer,
        residual_axis=writer.residual_axis,
        dtype=entry.dtype,
        shape=entry.shape,
        start=entry.start,
        end=entry.end,
        gain=writer.gain,
        bias=writer.bias,
        why=_why(writer, tied),
        directions=names,
        strengths=tuple(strength_at(step, writer.layer) for step in steps),
        scale=scale,
        stretch=None if writer.bias else stretch,
    )


def _why(writer: Writer, tied: Tied) -> str:
    part = "its bias" if writer.bias else "it"
    if writer.role == "embedding":
        reason = (
            "it starts the stream"
            if writer.layer is None
            else f"{part} enters the stream at layer {writer.layer}"
        )
        through = "" if writer.gain is None else f", through {writer.gain.name}"
        return reason + through + (", and is also the unembedding" if writer.tied and tied != "untie" else "")
    source = "attention" if writer.role == "attention_out" else "the MLP"
    what = "the bias" if writer.bias else "the output"
    norms = [gain.name for gain in (writer.gain.chain() if writer.gain else ())]
    through = f", through {' and then '.join(norms)}" if norms else ""
    return f"{what} of {source} of layer {writer.layer} is added to the stream{through}"
