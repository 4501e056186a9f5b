"""What the name of a Hub repository looks like."""

from __future__ import annotations

import re

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def is_hub_id(source: str) -> bool:
    """Whether a name has the form `organisation/name`, and not that of a path."""
    return _HUB_ID.fullmatch(source) is not None
