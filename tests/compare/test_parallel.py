"""Work in threads and in forked processes."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from surgery.compare.parallel import in_processes, in_threads
from surgery.errors import CheckpointError

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads do it")


@pytest.mark.parametrize("spread", [in_threads, in_processes])
@pytest.mark.parametrize("workers", [None, 1, 3])
def test_results_come_in_the_order_of_the_items(spread: type, workers: int | None) -> None:
    offset = 7  # a closure: nothing but numbers and results travels
    assert list(spread(lambda each: each + offset, range(50), workers)) == list(range(7, 57))
    assert list(spread(lambda each: each, [], workers)) == []


@linux
def test_processes_are_others() -> None:
    assert os.getpid() not in set(in_processes(lambda _: os.getpid(), range(4), 2))


@linux
def test_an_error_in_a_process_is_the_callers() -> None:
    def fail(_: int) -> None:
        raise CheckpointError("b.safetensors: ends at byte 9, before 12")

    with pytest.raises(CheckpointError, match="ends at byte 9"):
        list(in_processes(fail, range(4), 2))


@linux
def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(CheckpointError, match=r"was killed, most often for want of memory"):
        list(in_processes(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(4), 2))
