"""Work in threads and in forked processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from surgery.compare.parallel import in_processes, in_threads

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads do it")

START = """
import os, signal
from surgery.compare.parallel import in_processes
from surgery.errors import CheckpointError

def fail(number):
    raise CheckpointError(f"b.safetensors: ends at byte {number}, before 12")
"""


def _alone(code: str) -> str:
    """What some lines print in a process of their own, where neither torch nor JAX is loaded."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", START + code], capture_output=True, text=True, check=False
    )
    return (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.parametrize("spread", [in_threads, in_processes])
@pytest.mark.parametrize("workers", [None, 1, 3])
def test_results_come_in_the_order_of_the_items(spread: type, workers: int | None) -> None:
    assert list(spread(lambda each: each + 7, range(50), workers)) == list(range(7, 57))
    assert list(spread(lambda each: each, [], workers)) == []


@linux
def test_processes_are_others_and_know_what_the_function_knows() -> None:
    assert _alone("print(os.getpid() in set(in_processes(lambda _: os.getpid(), range(4), 2)))") == "False"
    code = "offset = 7\nprint(list(in_processes(lambda each: each + offset, range(5), 3)))"
    assert _alone(code) == "[7, 8, 9, 10, 11]"


@linux
@pytest.mark.parametrize("library", ["jax", "torch"])
def test_nothing_is_forked_beside_threads_of_other_libraries(library: str) -> None:
    code = f"import sys\nsys.modules[{library!r}] = sys\n"
    assert (
        _alone(code + "print({os.getpid()} == set(in_processes(lambda _: os.getpid(), range(4), 2)))")
        == "True"
    )


@linux
def test_an_error_in_a_process_is_the_callers() -> None:
    said = _alone("list(in_processes(fail, range(9, 12), 2))")
    assert said == "surgery.errors.CheckpointError: b.safetensors: ends at byte 9, before 12"


@linux
def test_a_process_that_is_killed_is_told() -> None:
    said = _alone("list(in_processes(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(4), 2))")
    assert "was killed, most often for want of memory" in said
