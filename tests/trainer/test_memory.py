"""Whether freed memory is used again, counted in page faults of a process of its own."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, threading
from trainer.memory import keep_freed_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
told = keep_freed_memory() if {keep} else True
SIZE = 100_000_000

def use():
    block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(SIZE)))
    ctypes.memset(block, 1, SIZE)
    libc.free(block)

def twice():
    use()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use()
    print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=twice)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc of glibc only")
def test_a_thread_gets_back_the_pages_that_it_freed() -> None:
    def faults(keep: bool) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True
        )
        told, count = done.stdout.split()
        assert told == "True"
        return int(count)

    assert faults(keep=True) < 20
    assert faults(keep=False) > 20  # else the test proves nothing
