"""Names of tensors that differ only in their numbers (layer, expert), drawn together on one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from surgery.report.steps import runs

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def numberless(name: str) -> str:
    """The name with a * for each number, by which names belong together."""
    return _NUMBER.sub("*", name)


def name_of_all(names: Sequence[str]) -> str:
    """Names that differ in their numbers, as one: `layers.{0–5}.mlp.down_proj.weight`."""
    if len(names) == 1:
        return names[0]
    columns = zip(*(map(int, _NUMBER.findall(name)) for name in names), strict=True)
    ranges = iter([f"{{{runs(column)}}}" for column in columns])
    return _NUMBER.sub(lambda _: next(ranges), names[0])
