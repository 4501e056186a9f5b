"""The agenda: every task once, and not all workers at the lock while there is a copy to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from surgery.edit.agenda import Agenda, Task
from surgery.edit.progression import Finished


def _noting(order: list[str], name: str) -> Callable[[], Finished | None]:
    def run() -> Finished | None:
        order.append(name)
        return Finished(name, None)

    return run


def _agenda(names: list[str], workers: int, order: list[str]) -> Agenda:
    """Tasks named p… project, the others copy."""
    agenda = Agenda(workers)
    for name in names:
        agenda.add(Task(1, _noting(order, name), projects=name.startswith("p")))
    return agenda


def test_one_worker_does_every_task_once_each_kind_in_order() -> None:
    order: list[str] = []
    agenda = _agenda(["c1", "p1", "c2", "p2"], 1, order)
    finished = [agenda.do_one() for _ in range(4)]
    assert order == ["p1", "p2", "c1", "c2"]
    assert finished == [(1, Finished(name, None)) for name in order]


@pytest.mark.parametrize(("workers", "expected"), [(2, "c1"), (3, "p2")])
def test_half_of_the_workers_project_while_there_is_something_to_copy(workers: int, expected: str) -> None:
    order: list[str] = []
    agenda, begun, over = Agenda(workers), threading.Event(), threading.Event()

    def long() -> Finished | None:
        begun.set()
        assert over.wait(10)
        return None

    agenda.add(Task(1, long, projects=True))
    for name in ("p2", "c1"):
        agenda.add(Task(1, _noting(order, name), projects=name.startswith("p")))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(agenda.do_one)
        assert begun.wait(10)
        agenda.do_one()
        assert order == [expected]
        agenda.do_one()
        over.set()
        first.result()
    assert sorted(order) == ["c1", "p2"]


def test_a_task_that_fails_leaves_its_place_to_the_next() -> None:
    order: list[str] = []
    agenda = Agenda(2)

    def fail() -> Finished | None:
        raise OSError("the disk is full")

    agenda.add(Task(1, fail, projects=True))
    with pytest.raises(OSError, match="full"):
        agenda.do_one()
    for name in ("p1", "c1"):
        agenda.add(Task(1, _noting(order, name), projects=name.startswith("p")))
    agenda.do_one()
    assert order == ["p1"]
