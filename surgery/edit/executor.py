"""Carrying a plan out: the source's layout, byte for byte, with only the planned tensors changed.

Every weight file gets the same header bytes (`surgery.edit.untying` is the one exception); the ranges between
edited tensors are copied by the kernel; edited tensors are read in tiles, projected in float32, rounded once
and written to the same range; every other file of the checkpoint is copied whole. The source is opened for
reading only. N workers share the tasks, file after file; the bytes do not depend on N, nor on torch's thread
count.

Until it is finished the folder cannot be loaded: a weight file gets its header when all behind it stands, and
index and config come last. With a journal, a run that was killed is gone on with: what the journal says is
finished is checked against the bytes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from surgery.checkpoint.copying import copy_range
from surgery.checkpoint.descriptor import open_to_read
from surgery.checkpoint.journal import Journal
from surgery.checkpoint.layout import CONFIG_FILE, INDEX_FILE, Checkpoint
from surgery.checkpoint.staging import remove_strangers
from surgery.checkpoint.workers import available_cores
from surgery.edit.agenda import Agenda, Task
from surgery.edit.basis import tensor_basis
from surgery.edit.plan import Plan, TensorEdit
from surgery.edit.progression import Finished, Progression
from surgery.edit.projector import Files, project_tensor
from surgery.edit.spans import Span, pieces, weight_spans
from surgery.edit.tiles import Buffers, layout_of, steady_arithmetic
from surgery.edit.untying import result_header, rewritten_files
from surgery.errors import OutputError

_LAST = (INDEX_FILE, CONFIG_FILE)

Progress = Callable[[int, int], None]


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
    journal: Journal | None = None,
) -> dict[str, str | None]:
    """Write the edited checkpoint into an existing folder.

    Args:
        plan: made for this checkpoint.
        checkpoint: the source.
        staging: where the result goes, empty unless a journal says what is in it; see
            `surgery.checkpoint.staging`.
        progress: called in this thread with (bytes done, bytes in all).
        hashes: whether every file is hashed as written; a journal needs it.
        workers: how many threads; default one per available core, at most 8.
        journal: of this very work (see `surgery.edit.identity`); what it lists is checked and not done again,
            and every file is flushed to the disk as soon as it is finished.

    Returns:
        SHA-256 of every file by name; None where hashing was off.

    Raises:
        OutputError: the folder is not empty, or lies inside the source.
        CheckpointError: the source changed while it was read.
        EditError: a tensor cannot be projected (not finite, dependent directions).
        OSError: the disk does not take the bytes.
    """
    _check_staging(staging, checkpoint, empty=journal is None)
    if journal is not None:
        remove_strangers(staging, frozenset([*checkpoint.headers, *checkpoint.side_files]))
    run = _Run(
        plan,
        checkpoint,
        staging,
        hashes or journal is not None,
        journal,
        threading.Event(),
        rewritten_files(plan.untying, checkpoint),
    )
    names = [*checkpoint.headers, *(name for name in checkpoint.side_files if name not in _LAST)]
    last = [name for name in _LAST if name in checkpoint.side_files]
    (staging / CONFIG_FILE).unlink(missing_ok=True)
    with steady_arithmetic():
        tally = _Tally(sum(_progression(run, name).n_bytes for name in [*names, *last]), progress)
        finished = [
            *_work(run, names, tally, workers or available_cores()),
            *(each for name in last for each in _work(run, [name], tally, 1)),
        ]
    return {each.name: each.sha256 for each in sorted(finished, key=lambda each: each.name)}


@dataclass(frozen=True)
class _Run:
    """What every task of one execution knows."""

    plan: Plan
    checkpoint: Checkpoint
    staging: Path
    hashes: bool
    journal: Journal | None
    stop: threading.Event
    rewritten: Mapping[str, bytes]

    def check(self) -> None:
        if self.stop.is_set():
            raise _Stopped


class _Tally:
    """Bytes done so far, told to whoever watches."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def add(self, n_bytes: int) -> None:
        self._done += n_bytes
        if self._progress is not None:
            self._progress(self._done, self._total)


def _check_staging(staging: Path, checkpoint: Checkpoint, *, empty: bool) -> None:
    if not staging.is_dir() or (empty and any(staging.iterdir())):
        raise OutputError(f"{staging}: must be an empty folder")
    if staging.resolve().is_relative_to(checkpoint.folder.resolve()):
        raise OutputError(
            f"{staging}: lies inside the source {checkpoint.folder}, which is never written to; name"
            " another place"
        )


def _work(run: _Run, names: Iterable[str], tally: _Tally, workers: int) -> Iterator[Finished]:
    """Write some files; each is given out when it stands."""
    pool, agenda = ThreadPoolExecutor(workers, thread_name_prefix="surgery-edit"), Agenda(workers)
    try:
        futures: list[Future[tuple[int, Finished | None]]] = []
        for name in names:
            for task in _tasks(run, name):
                agenda.add(task)
                futures.append(pool.submit(agenda.do_one))
        for future in as_completed(futures):
            n_bytes, finished = future.result()
            tally.add(n_bytes)
            if finished is not None:
                yield finished
    except BaseException:
        run.stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _tasks(run: _Run, name: str) -> Iterator[Task]:
    """The work on one file, in file order."""
    file = _progression(run, name)
    spans = file.spans
    if file.is_said_to_stand:
        yield Task(file.n_bytes, lambda: _take_over(run, file))
        return
    file.begin()
    if file.n_standing == len(spans):
        yield Task(file.n_bytes, lambda: file.seal(hashes=run.hashes))
        return
    yield Task(sum(span.n_bytes for span in spans[: file.n_standing]), lambda: None)
    for index in range(file.n_standing, len(spans)):
        yield _task(run, file, index)


def _progression(run: _Run, name: str) -> Progression:
    checkpoint, plan = run.checkpoint, run.plan
    folders, header = (checkpoint.folder, run.staging), checkpoint.headers.get(name)
    if name in run.rewritten:
        return Progression(name, folders, run.rewritten[name], (), run.journal)
    if header is None:
        return Progression(name, folders, b"", list(pieces(0, _side_bytes(checkpoint, name))), run.journal)
    raw = result_header(plan.untying, header, name)
    return Progression(name, folders, raw, list(weight_spans(plan, checkpoint, name)), run.journal)


def _side_bytes(checkpoint: Checkpoint, name: str) -> int:
    return (checkpoint.folder / name).stat().st_size


def _take_over(run: _Run, file: Progression) -> Finished | None:
    """A file that an earlier run finished; written once more where its bytes are not what the journal
    says."""
    run.check()
    finished = file.take_over()
    if finished is not None:
        return finished
    file.begin()
    tasks = [_task(run, file, index) for index in range(len(file.spans))]
    return [task.run() for task in tasks][-1] if tasks else file.seal(hashes=run.hashes)


def _task(run: _Run, file: Progression, index: int) -> Task:
    span = file.spans[index]

    def work() -> Finished | None:
        run.check()
        if span.edit is None:
            start, end = span.start - span.shift, span.end - span.shift
            copy_range(file.source, file.target, start, end, shift=span.shift)
        else:
            _edit(run, span, span.edit, file.target)
        return file.finish(index, hashes=run.hashes)

    return Task(span.n_bytes, work, projects=span.edit is not None)


def _edit(run: _Run, span: Span, edit: TensorEdit, target: Path) -> None:
    basis = tensor_basis(edit, run.plan, run.checkpoint)
    with open_to_read(run.checkpoint.folder / edit.file) as reading:
        writing = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
        try:
            files = Files(reading, writing)
            project_tensor(
                edit,
                basis,
                files,
                _buffers(),
                layout=layout_of(edit, run.checkpoint, shift=span.shift),
                rounding=run.plan.rounding,
                check=run.check,
            )
        finally:
            os.close(writing)


_local = threading.local()


def _buffers() -> Buffers:
    # Buffers live as long as their worker thread: fresh memory costs more than the arithmetic.
    if not hasattr(_local, "buffers"):
        _local.buffers = Buffers()
    buffers: Buffers = _local.buffers
    return buffers
