"""How far long work has come, in words: what is done, how far, how fast, and how long it still takes."""

from __future__ import annotations

from dataclasses import dataclass

from surgery.report.numbers import count, duration, size

_SETTLED = 1.0
"""Seconds of work before a speed is worth saying."""


@dataclass(frozen=True)
class Standing:
    """How far one kind of work has come: `done` of `total`, `seconds` after `started_at` items of it."""

    what: str
    done: int
    total: int
    started_at: int
    seconds: float


def progress_text(standing: Standing) -> str:
    """`refusal 40 of 100 · 12.5 per s · 5 s left`; bytes as `1.2 GB of 4.0 GB · 410 MB per s · 7 s left`."""
    in_bytes = standing.what == "bytes"
    number = size if in_bytes else count
    parts = [f"{number(standing.done)} of {number(standing.total)}"]
    if not in_bytes:
        parts[0] = f"{standing.what} {parts[0]}"
    made = standing.done - standing.started_at
    if standing.seconds >= _SETTLED and made > 0:
        speed = made / standing.seconds
        parts.append(f"{size(int(speed)) if in_bytes else f'{speed:.1f}'} per s")
        if standing.done < standing.total:
            parts.append(f"{duration((standing.total - standing.done) / speed)} left")
    return " · ".join(parts)
