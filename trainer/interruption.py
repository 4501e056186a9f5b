"""Ending a run from outside without losing it: SIGTERM and SIGINT become a question that the run asks.

A cluster that wants its machine back sends SIGTERM and waits a little; the run finishes its step, saves and
leaves. A second signal of the kind acts as it always did, and so does one before the run asks for the first
time: there is nothing to save yet.
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
    """While open, and once the returned function was asked, the first SIGTERM or SIGINT makes it true. Main
    thread only."""
    caught: list[int] = []
    asked: list[bool] = []
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, _: FrameType | None) -> None:
        caught.append(number)
        signal.signal(number, kept[signal.Signals(number)])

    def stop() -> bool:
        if not asked:
            asked.append(True)
            for number in kept:
                signal.signal(number, note)
        return bool(caught)

    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
