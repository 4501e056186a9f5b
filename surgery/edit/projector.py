"""Projecting one tensor from a source file into a target file, tile by tile.

By rows, one pass does. By columns two passes over the source are needed, the first for qᵀW. With feedback
rounding whole columns are needed at once, so the matrix is walked in strips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from surgery.edit.basis import Basis
from surgery.edit.plan import Rounding, TensorEdit
from surgery.edit.tiles import (
    STRIP_ELEMENTS,
    Buffers,
    Layout,
    load_strip,
    load_tile,
    store_strip,
    store_tile,
    strip_unit,
    tile_unit,
)
from surgery.errors import EditError
from surgery.linalg.projection import stretches
from surgery.linalg.rounding import Schedule, feedback_schedule, needs_rounding, round_feedback


@dataclass(frozen=True)
class Files:
    """Descriptors of a source and of a target that holds the same layout."""

    source: int
    target: int


@dataclass(frozen=True)
class _Job:
    edit: TensorEdit
    layout: Layout
    q: torch.Tensor  # (k, d_model), float64
    strengths: torch.Tensor  # (k,), float64
    files: Files
    buffers: Buffers
    check: Callable[[], None]
    schedule: Schedule | None  # of feedback rounding, None for nearest

    @property
    def wide_q(self) -> torch.Tensor:
        return self.q.to(self.layout.wide)


def rounding_of(edit: TensorEdit, rounding: Rounding) -> Rounding:
    """How one tensor is rounded: as asked, but an FP8 matrix always with feedback, since round to nearest
    would leave a quarter of the direction in it.
    """
    return "feedback" if edit.scale is not None else rounding


def project_tensor(
    edit: TensorEdit,
    basis: Basis,
    files: Files,
    buffers: Buffers,
    *,
    layout: Layout,
    rounding: Rounding,
    check: Callable[[], None],
) -> None:
    """Write the projected tensor of one edit.

    Args:
        edit: which tensor.
        basis: what is taken out of it, and how much.
        files: where it is read and where it is written.
        buffers: the worker's own.
        layout: how the tensor lies in the file; see `layout_of`.
        rounding: nearest, or feedback along the basis; FP8 always takes feedback (see `rounding_of`).
        check: called before each tile; raises to stop.

    Raises:
        EditError: the tensor holds a NaN or an infinity.
    """
    strengths = torch.tensor(basis.strengths, dtype=torch.float64)
    q = torch.from_numpy(basis.rows)
    feedback = rounding_of(edit, rounding) == "feedback" and needs_rounding(layout.dtype)
    job = _Job(edit, layout, q, strengths, files, buffers, check, feedback_schedule(q) if feedback else None)
    for offset in layout.matrices():
        if layout.by_rows:
            _project_rows(job, offset, job.schedule)
        elif job.schedule is not None:
            _project_strips(job, offset, job.schedule)
        else:
            _project_columns(job, offset)


def _project_rows(job: _Job, offset: int, schedule: Schedule | None) -> None:
    q, strengths = job.wide_q, job.strengths.to(job.layout.wide)
    tiles = job.layout.tiles(offset) if schedule is None else job.layout.tiles(offset, STRIP_ELEMENTS)
    for tile in tiles:
        job.check()
        rows = load_tile(job.files.source, job.layout, tile, job.buffers)
        components = rows @ q.T  # (rows, k)
        _check_finite(job.edit, components)
        factors = _stretches(job, rows.T)
        rows.addmm_(components * strengths, q, alpha=-1)
        if factors is not None:
            rows.mul_(factors[:, None])
        if schedule is not None:
            unit = tile_unit(job.layout, tile)
            unit = None if unit is None else unit.T
            rows = round_feedback(rows.T.contiguous(), schedule, job.layout.dtype, unit).T
        store_tile(job.files.target, job.layout, tile, rows, job.buffers)


def _project_columns(job: _Job, offset: int) -> None:
    q = job.wide_q
    components, squares = _column_sums(job, offset)
    _check_finite(job.edit, components)
    scaled = (components * job.strengths[:, None]).to(job.layout.wide)
    most = job.edit.stretch
    factors = (
        None if most is None else stretches(squares, components, job.strengths, most).to(job.layout.wide)
    )
    for tile in job.layout.tiles(offset):
        job.check()
        lines = load_tile(job.files.source, job.layout, tile, job.buffers)
        lines.addmm_(q[:, tile.first : tile.first + tile.count].T, scaled, alpha=-1)
        if factors is not None:
            lines.mul_(factors)
        store_tile(job.files.target, job.layout, tile, lines, job.buffers)


def _project_strips(job: _Job, offset: int, schedule: Schedule) -> None:
    q = job.wide_q
    for strip in job.layout.strips(offset):
        job.check()
        columns = load_strip(job.files.source, job.layout, strip, job.buffers)
        components = q @ columns  # (k, columns)
        _check_finite(job.edit, components)
        factors = _stretches(job, columns)
        columns.addmm_(q.T, components * job.strengths[:, None].to(job.layout.wide), alpha=-1)
        if factors is not None:
            columns.mul_(factors)
        unit = strip_unit(job.layout, strip)
        rounded = round_feedback(columns, schedule, job.layout.dtype, unit)
        store_strip(job.files.target, job.layout, strip, rounded)


def _column_sums(job: _Job, offset: int) -> tuple[torch.Tensor, torch.Tensor]:
    """qᵀW (k, inner) and, where columns keep their length, ‖w_j‖² (inner,), in one pass, as float64 sums."""
    keeps = job.edit.stretch is not None
    q = job.q if keeps else job.wide_q
    components = torch.zeros(len(q), job.layout.inner, dtype=torch.float64)
    squares = torch.zeros(job.layout.inner, dtype=torch.float64)
    for tile in job.layout.tiles(offset):
        job.check()
        lines = load_tile(job.files.source, job.layout, tile, job.buffers)
        lines = lines.double() if keeps else lines
        components += q[:, tile.first : tile.first + tile.count] @ lines
        if keeps:
            squares += lines.square().sum(0)
    return components, squares


def _stretches(job: _Job, columns: torch.Tensor) -> torch.Tensor | None:
    """The factors (n,) for whole columns (d_model, n) as they are before the edit; None where none are
    wanted.
    """
    if job.edit.stretch is None:
        return None
    wide = columns.double()
    found = stretches(wide.square().sum(0), job.q @ wide, job.strengths, job.edit.stretch)
    return found.to(job.layout.wide)


def _check_finite(edit: TensorEdit, components: torch.Tensor) -> None:
    if not bool(torch.isfinite(components).all()):
        raise EditError(
            f"{edit.file}: tensor {edit.tensor!r} holds a NaN or an infinity; the source is damaged, so it"
            " is not edited"
        )
