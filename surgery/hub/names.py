"""What the name of a Hub repository looks like."""

from __future__ import annotations


def is_hub_id(source: str) -> bool:
    """Whether a name has the form `organisation/name`, and not that of a path."""
    return source.count("/") == 1 and not source.startswith((".", "/", "~"))
