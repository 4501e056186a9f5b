"""Memory that a step frees stays with the process, for the next step to use.

A step on a CPU works in some 200 MB of temporary arrays. glibc maps blocks of that size anew at every step
and the kernel fills them with zeros page by page; a dense step spends a tenth of its time there.
"""

import ctypes

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # of malloc.h, glibc
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell malloc to map no block by itself and to give none back; whether this system's malloc can be told.

    It holds for the whole process, from now on and for threads that begin later: for a command to call first,
    not for a library. One arena for all threads, because any other than the first maps large blocks in spite
    of it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, LARGEST))
    return all(mallopt(name, value) == 1 for name, value in wanted)
