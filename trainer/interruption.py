"""Ending a run from outside without losing it: SIGTERM and SIGINT become a question that the run asks.

A cluster that wants its machine back sends SIGTERM and waits a little; the run finishes its step, saves and
leaves. A second signal of the kind acts as it always did.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from surgery.errors import SurgeryError

Stop = Callable[[], bool]


class InterruptedRun(SurgeryError):
    """The run was asked to end and has saved itself."""


def never() -> bool:
    """The answer of a run that nobody interrupts."""
    return False


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """While open, the first SIGTERM or SIGINT makes the returned function true. Main thread only."""
    caught: list[int] = []
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, kept[signal.Signals(number)])

    for number in kept:
        signal.signal(number, note)
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
