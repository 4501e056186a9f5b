"""Carrying a plan out: the source's layout, byte for byte, with only the planned tensors changed.

Every weight file gets the same header bytes; the ranges between edited tensors are copied by the kernel;
edited tensors are read in tiles, projected in float32, rounded once and written to the same range; every
other file of the checkpoint is copied whole. The source is opened for reading only. N workers share the
tasks; the bytes do not depend on N, nor on torch's thread count.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from surgery.checkpoint.copying import copy_range, create_file
from surgery.checkpoint.hashes import sha256_range
from surgery.checkpoint.header import Header
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.tensor import open_to_read, write_from
from surgery.edit.basis import tensor_basis
from surgery.edit.plan import Plan, TensorEdit
from surgery.edit.projector import Files, project_tensor
from surgery.edit.tiles import Buffers, steady_arithmetic
from surgery.errors import OutputError

COPY_BYTES = 64 << 20
_MAX_WORKERS = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TensorRecord:
    """SHA-256 of one tensor's bytes in the source and in the result; None where hashing was off."""

    tensor: str
    sha256_before: str | None
    sha256_after: str | None


@dataclass(frozen=True)
class _Task:
    """A piece of work that accounts for `n_bytes` of the result."""

    n_bytes: int
    run: Callable[[], TensorRecord | None]


class _Stopped(Exception):
    """Raised inside a worker whose run was given up elsewhere."""


def execute(
    plan: Plan,
    checkpoint: Checkpoint,
    staging: Path,
    *,
    progress: Progress | None = None,
    hashes: bool = True,
    workers: int | None = None,
) -> tuple[TensorRecord, ...]:
    """Write the edited checkpoint into an existing, empty folder.

    Args:
        plan: made for this checkpoint.
        checkpoint: the source.
        staging: where the result goes; see `surgery.checkpoint.folder.new_folder`.
        progress: called in this thread with (bytes done, bytes in all).
        hashes: whether edited tensors are hashed before and after.
        workers: how many threads; default one per available core, at most 8.

    Returns:
        One record per edit, in the plan's order.

    Raises:
        OutputError: the folder is not empty, or lies inside the source.
        CheckpointError: the source changed while it was read.
        EditError: a tensor cannot be projected (not finite, dependent directions).
        OSError: the disk does not take the bytes.
    """
    _check_staging(staging, checkpoint)
    stop = threading.Event()
    tasks = list(_tasks(plan, checkpoint, staging, stop, hashes=hashes))
    total = sum(task.n_bytes for task in tasks)
    count = workers or available_cores()
    records: dict[str, TensorRecord] = {}
    with steady_arithmetic():
        pool = ThreadPoolExecutor(count, thread_name_prefix="surgery-edit")
        try:
            futures = {pool.submit(task.run): task.n_bytes for task in tasks}
            for record in _watch(futures, total, progress):
                records[record.tensor] = record
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    return tuple(records[edit.tensor] for edit in plan.edits)


def available_cores() -> int:
    """How many cores this process may run on, at most 8: more only compete for the disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MAX_WORKERS, cores)


def _check_staging(staging: Path, checkpoint: Checkpoint) -> None:
    if not staging.is_dir() or any(staging.iterdir()):
        raise OutputError(f"{staging}: must be an empty folder")
    if staging.resolve().is_relative_to(checkpoint.folder.resolve()):
        raise OutputError(
            f"{staging}: lies inside the source {checkpoint.folder}, which is never written to; name"
            " another place"
        )


def _watch(
    futures: dict[Future[TensorRecord | None], int], total: int, progress: Progress | None
) -> Iterator[TensorRecord]:
    done = 0
    for future in as_completed(futures):
        record = future.result()
        done += futures[future]
        if progress is not None:
            progress(done, total)
        if record is not None:
            yield record


def _tasks(
    plan: Plan, checkpoint: Checkpoint, staging: Path, stop: threading.Event, *, hashes: bool
) -> Iterator[_Task]:
    """All work on freshly made files, the edits first, since they take longest."""
    copies: list[_Task] = []
    for name, header in checkpoint.headers.items():
        edits = [edit for edit in plan.edits if edit.file == name]
        _start_file(staging / name, header)
        source, target = checkpoint.folder / name, staging / name
        yield from (_edit_task(edit, plan, checkpoint, target, stop, hashes=hashes) for edit in edits)
        copies += [_copy_task(source, target, *span, stop) for span in unedited_spans(header, edits)]
    for name in checkpoint.side_files:
        source, target = checkpoint.folder / name, staging / name
        size = source.stat().st_size
        create_file(target, size)
        copies += [_copy_task(source, target, *span, stop) for span in _pieces(0, size)]
    yield from copies


def unedited_spans(header: Header, edits: list[TensorEdit]) -> Iterator[tuple[int, int]]:
    """The byte ranges of a file, header aside, that no edit touches, in pieces of bounded size."""
    position = len(header.raw)
    for edit in sorted(edits, key=lambda each: each.start):
        yield from _pieces(position, edit.start)
        position = edit.end
    yield from _pieces(position, header.file_bytes)


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    for position in range(start, end, COPY_BYTES):
        yield position, min(position + COPY_BYTES, end)


def _start_file(target: Path, header: Header) -> None:
    create_file(target, header.file_bytes)
    descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        write_from(descriptor, memoryview(header.raw), 0)
    finally:
        os.close(descriptor)


def _copy_task(source: Path, target: Path, start: int, end: int, stop: threading.Event) -> _Task:
    def run() -> None:
        _check(stop)
        copy_range(source, target, start, end)

    return _Task(end - start, run)


def _edit_task(
    edit: TensorEdit, plan: Plan, checkpoint: Checkpoint, target: Path, stop: threading.Event, *, hashes: bool
) -> _Task:
    def run() -> TensorRecord:
        _check(stop)
        source = checkpoint.folder / edit.file
        basis = tensor_basis(edit, plan, checkpoint)
        with open_to_read(source) as reading:
            writing = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
            try:
                files = Files(reading, writing)
                project_tensor(
                    edit, basis, files, _buffers(), rounding=plan.rounding, check=lambda: _check(stop)
                )
            finally:
                os.close(writing)
        if not hashes:
            return TensorRecord(edit.tensor, None, None)
        return TensorRecord(
            edit.tensor,
            sha256_range(source, edit.start, edit.end),
            sha256_range(target, edit.start, edit.end),
        )

    return _Task(edit.end - edit.start, run)


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise _Stopped


_local = threading.local()


def _buffers() -> Buffers:
    # Buffers live as long as their worker thread: fresh memory costs more than the arithmetic.
    if not hasattr(_local, "buffers"):
        _local.buffers = Buffers()
    buffers: Buffers = _local.buffers
    return buffers
