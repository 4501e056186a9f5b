"""How many workers share the files of a checkpoint."""

from __future__ import annotations

import os

_MOST = 8


def available_cores() -> int:
    """How many cores this process may run on, at most 8: more only compete for the disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST, cores)
