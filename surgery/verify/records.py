"""What one model did with one item: the row everything else is computed from.

Rates, intervals, tests, gates and tables are functions of these rows, so they can be computed again, with
another detector or after the fact, without running a model.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from surgery.errors import VerifyError
from surgery.model.prompts import Item


@dataclass(frozen=True)
class Record:
    """One row per suite, item and side; what a suite does not measure stays empty."""

    suite: str
    item_id: str
    prompt_sha256: str
    side: str
    """`base`, `edited`, or the name of a control."""
    reply: str | None = None
    reply_tokens: int | None = None
    finished: bool | None = None
    """Whether the reply ended by itself rather than at the limit."""
    state: str | None = None
    detail: str | None = None
    """What the state was seen by."""
    detector: str | None = None
    log_likelihoods: tuple[float, ...] = ()
    """Of each answer, in nats, in the item's order."""
    correct: bool | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    """Further numbers, named by the suite."""


def prompt_hash(item: Item) -> str:
    """The sha256 of what was asked, by which two sides are known to have been asked the same."""
    return hashlib.sha256(item.prompt.encode()).hexdigest()


def record(suite: str, item: Item, side: str, **measured: Any) -> Record:
    """A row about an item; `measured` are the remaining fields of `Record`."""
    return Record(suite, item.id, prompt_hash(item), side, **measured)


def paired(base: Sequence[Record], edited: Sequence[Record], suite: str) -> list[tuple[Record, Record]]:
    """The rows of two sides about the same items of a suite, in the base's order.

    Raises:
        VerifyError: an item is missing on one side, occurs twice, or was asked in other words.
    """
    first, second = _by_item(base, suite), _by_item(edited, suite)
    if first.keys() != second.keys():
        raise VerifyError(
            f"{suite}: the two sides were not measured on the same items; only one has: "
            f"{', '.join(sorted(first.keys() ^ second.keys())[:5])}. Measure both again"
        )
    for item_id, row in first.items():
        if row.prompt_sha256 != second[item_id].prompt_sha256:
            raise VerifyError(
                f"{suite}: item {item_id} was asked in different words on the two sides. Measure both again"
            )
    return [(row, second[item_id]) for item_id, row in first.items()]


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write rows as JSON lines, without empty fields; numbers that are not finite become null."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for each in records:
            file.write(json.dumps(record_as_json(each), ensure_ascii=False) + "\n")


def record_as_json(each: Record) -> dict[str, Any]:
    """A row as plain JSON values, without the fields that hold nothing."""
    row = {one.name: getattr(each, one.name) for one in fields(each)}
    row["log_likelihoods"] = [_finite_or_none(value) for value in each.log_likelihoods]
    row["values"] = {name: _finite_or_none(value) for name, value in each.values.items()}
    return {name: value for name, value in row.items() if value is not None and value != [] and value != {}}


def _finite_or_none(value: float) -> float | None:
    """The number, or None where JSON has no word for it (nan, infinities)."""
    return value if math.isfinite(value) else None


def _by_item(records: Sequence[Record], suite: str) -> dict[str, Record]:
    rows: dict[str, Record] = {}
    for each in records:
        if each.suite != suite:
            continue
        if each.item_id in rows:
            raise VerifyError(f"{suite}: item {each.item_id} occurs twice. Give the items distinct ids")
        rows[each.item_id] = each
    return rows
