"""How a long measurement tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with how many are done, of how many, and what they are."""


def silent(done: int, total: int, what: str) -> None:
    """Progress that nobody follows."""
