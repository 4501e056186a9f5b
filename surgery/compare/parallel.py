"""The same work on several tensors at a time, in threads or, where there is much of it, in processes.

numpy gives the interpreter's lock away around every call and takes it back after it. Where a call takes
20 µs, two threads spend more on handing the lock over than the second of them adds; two processes do not
wait for each other at all. A process begins by `fork`, so that it finds everything its function knows and
only results travel. Where that is not safe threads do the work: elsewhere than on Linux, and beside libraries
with threads of their own, which `surgery diff` does not load.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from surgery.checkpoint.workers import available_cores
from surgery.errors import CheckpointError

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADED = frozenset({"jax", "torch"})

_inherited: list[Callable[[int], Any]] = []
"""In a forked process, what it does with the number of an item."""


def in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[Result]:
    """What `work` makes of each item, in their order; by default one thread per available core."""
    with ThreadPoolExecutor(workers or available_cores(), "surgery-diff") as pool:
        yield from pool.map(work, items)


def in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[Result]:
    """What `work` makes of each item, in their order; by default one process per available core.

    Raises:
        CheckpointError: the system killed a process.
    """
    workers = min(workers or available_cores(), len(items))
    if workers < 2 or sys.platform != "linux" or _THREADED & sys.modules.keys():
        yield from in_threads(work, items, workers or 1)
        return
    fork, inherited = multiprocessing.get_context("fork"), (lambda number: work(items[number]),)
    try:
        with ProcessPoolExecutor(workers, fork, _begin, inherited) as pool:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
                found = pool.map(_do, range(len(items)))
            yield from found
    except BrokenProcessPool:
        raise CheckpointError(
            "a process that compared tensors was killed, most often for want of memory; free some and run it"
            " again"
        ) from None


def _begin(do: Callable[[int], Any]) -> None:
    _inherited.append(do)
    # Ctrl-C reaches every process of a terminal; the first one answers for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _do(number: int) -> Any:
    return _inherited[0](number)
