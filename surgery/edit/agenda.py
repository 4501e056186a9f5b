"""In which order workers do their tasks: projections and copies side by side, each in file order.

A copy runs in the kernel. Workers that project hand the interpreter's lock to each other, since torch gives
it away for every operation of some ten microseconds: so at most half of them project while there is something
to copy.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from surgery.edit.progression import Finished


@dataclass(frozen=True)
class Task:
    """A piece of work that accounts for `n_bytes` of the result."""

    n_bytes: int
    run: Callable[[], Finished | None]
    projects: bool = False


class Agenda:
    """Tasks that wait for one of some workers. Safe to use from several threads."""

    def __init__(self, workers: int) -> None:
        self._projections: deque[Task] = deque()
        self._others: deque[Task] = deque()
        self._projecting, self._at_most = 0, (workers + 1) // 2
        self._mutex = threading.Lock()

    def add(self, task: Task) -> None:
        """Let a task wait."""
        with self._mutex:
            (self._projections if task.projects else self._others).append(task)

    def do_one(self) -> tuple[int, Finished | None]:
        """Do one of the waiting tasks: its bytes, and the file that it finished."""
        with self._mutex:
            task = self._next()
            self._projecting += task.projects
        try:
            return task.n_bytes, task.run()
        finally:
            with self._mutex:
                self._projecting -= task.projects

    def _next(self) -> Task:
        projects = self._projections and (self._projecting < self._at_most or not self._others)
        return (self._projections if projects else self._others).popleft()
