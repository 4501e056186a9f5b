"""A family's table at one checkpoint: the rows that its config.json asks for, with the prefix put in, and
what must be there of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from surgery.model.families.settings import check_size, count, expert_count
from surgery.model.families.table import Family, Gain, WriterRow, alternatives, fill, match_pattern

_LISTED = 12
_DRAFTS = re.compile(r"([a-z_]+\.){0,2}mtp[._]")
"""Starts of names in blocks that only propose tokens (multi-token prediction): they read the finished stream
and do not feed it, and most loaders leave them out.
"""
_DRAFT_LAYERS = "num_nextn_predict_layers"
"""Key of config.json that counts such blocks where they stand as layers behind the last one."""


@dataclass(frozen=True)
class Rows:
    """A family's table at one checkpoint.

    `shared` are the names that are embedding and unembedding at once; `prefix` is the checkpoint's; `beside`
    are those of the writers that are not in the text tower; `drafts` are the layers behind the last that only
    propose tokens.
    """

    writers: tuple[WriterRow, ...]
    readers: tuple[str, ...]
    foreign: tuple[str, ...]
    shared: frozenset[str]
    prefix: str
    beside: tuple[WriterRow, ...]
    n_layers: int
    n_experts: int
    drafts: range

    def names(self, row: WriterRow, layer: int | None) -> list[str]:
        """What a row stands for in one layer."""
        if "{expert}" not in row.pattern:
            return [fill(row.pattern, layer)]
        return [fill(row.pattern, layer, expert) for expert in range(self.n_experts)]


def resolve_rows(
    family: Family, settings: Mapping[str, Any], tensor_shapes: Mapping[str, tuple[int, ...]], *, tied: bool
) -> Rows:
    """The rows for the tensors at hand: prefix, tied copies and writers beside the text tower put in.

    Raises:
        AnatomyError: the settings of the text tower do not say how many layers or experts there are, or say
            more than can be.
    """
    prefix, n_layers = _prefix(family, tensor_shapes), count(settings, family.depth)
    n_experts = expert_count(family.writers, settings)
    check_size(n_layers, n_experts)
    writers = [
        _prefixed(row, prefix) for row in family.writers if row.unless is None or not settings.get(row.unless)
    ]
    readers = [*(prefix + pattern for pattern in family.readers), *family.outside_readers]
    shared: tuple[str, ...] = ()
    if tied:
        writers, shared = _tied(family, prefix, writers, tensor_shapes)
    else:
        readers += family.unembedding
    drafts = settings.get(_DRAFT_LAYERS)
    beside = tuple(each for row in family.outside for each in _beside(row, tensor_shapes))
    return Rows(
        (*writers, *beside),
        tuple(readers),
        family.foreign,
        frozenset(shared),
        prefix,
        beside,
        n_layers,
        n_experts,
        range(n_layers, n_layers + drafts if type(drafts) is int else 0),
    )


def _tied(
    family: Family, prefix: str, writers: list[WriterRow], present: Mapping[str, tuple[int, ...]]
) -> tuple[list[WriterRow], tuple[str, ...]]:
    """The rows with every name of the tied embedding that is on disk, and those names."""
    embedding = prefix + family.embedding
    names = [name for name in (embedding, *family.unembedding) if name in present] or [embedding]
    rows = [replace(row, pattern=names[0]) if row.pattern == embedding else row for row in writers]
    gain = next(row.gain for row in rows if row.pattern == names[0])
    return [*rows, *(WriterRow(name, "embedding", 1, gain=gain) for name in names[1:])], tuple(names)


def _prefix(family: Family, tensor_shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Where the text tower is: where its embedding is, or where anything is, if that is only the
    unembedding.
    """
    with_embedding = [prefix for prefix in family.prefixes if prefix + family.embedding in tensor_shapes]
    with_anything = [
        prefix for prefix in family.prefixes if any(name.startswith(prefix) for name in tensor_shapes)
    ]
    return (with_embedding or with_anything or list(family.prefixes))[0]


def _beside(row: WriterRow, tensor_shapes: Mapping[str, tuple[int, ...]]) -> list[WriterRow]:
    """A row beside the text tower, once for each tensor that it means; once by its first name where there is
    none.
    """
    names = [name for name in tensor_shapes if match_pattern(row.pattern, name)]
    return [replace(row, pattern=name) for name in names or alternatives(row.pattern)[:1]]


def _prefixed(row: WriterRow, prefix: str) -> WriterRow:
    return replace(row, pattern=prefix + row.pattern, gain=_behind(row.gain, prefix))


def _behind(gain: Gain | None, prefix: str) -> Gain | None:
    if gain is None:
        return None
    return replace(gain, tensor=prefix + gain.tensor, then=_behind(gain.then, prefix))


def reads(rows: Rows, name: str) -> bool:
    """Whether a name that no row of a writer fits is that of a tensor that does not write to the stream."""
    if name.startswith(rows.foreign) or _DRAFTS.match(name):
        return True
    behind = re.match(re.escape(rows.prefix) + r"layers\.([1-9][0-9]{0,5})\.", name)
    if behind is not None and int(behind[1]) in rows.drafts:
        return True
    return any(fits(rows, pattern, name) for pattern in rows.readers)


def fits(rows: Rows, pattern: str, name: str) -> bool:
    """Whether a name fits a pattern with a layer and an expert that the model has."""
    match = match_pattern(pattern, name)
    if match is None or (match.layer is not None and match.layer >= rows.n_layers):
        return False
    return match.expert is None or match.expert < rows.n_experts


def presence_problems(rows: Rows, present: set[str], settings: Mapping[str, Any]) -> list[str]:
    """What is missing of the writers that must be there, and what is there that should not."""
    problems: list[str] = []
    wanted = [row for row in rows.writers if row.wanted(settings)]
    for row in rows.writers:
        layers: list[int | None] = list(range(rows.n_layers)) if "{layer}" in row.pattern else [None]
        names = [name for layer in layers for name in rows.names(row, layer)]
        missing = [name for name in names if name not in present]
        spare = [name for name in names if name in present]
        if row in wanted and row.kind is None and not row.optional and missing:
            problems.append(f"missing: {listing(missing)}")
        if row not in wanted and spare:
            problems.append(f"config.json has no {row.needs}, so loaders would drop: {listing(spare)}")
    return problems + _choice_problems(rows, [row for row in wanted if row.kind], present)


def _choice_problems(rows: Rows, wanted: list[WriterRow], present: set[str]) -> list[str]:
    """In every layer each slot must be filled by exactly one of its choices, and that one be whole."""
    problems: list[str] = []
    for slot in dict.fromkeys(str(row.kind).split(":")[0] for row in wanted):
        choices: dict[str, list[WriterRow]] = {}
        for row in wanted:
            if str(row.kind).startswith(slot + ":"):
                choices.setdefault(str(row.kind), []).append(row)
        for layer in range(rows.n_layers):
            problems += _slot_problems(rows, choices, layer, present)
    return problems


def _slot_problems(
    rows: Rows, choices: Mapping[str, list[WriterRow]], layer: int, present: set[str]
) -> list[str]:
    expected = {
        kind: [name for row in choice for name in rows.names(row, layer)] for kind, choice in choices.items()
    }
    begun = [kind for kind, names in expected.items() if not present.isdisjoint(names)]
    if not begun:
        return [f"missing: one of {listing([names[0] for names in expected.values()])}"]
    if len(begun) > 1:
        return [f"layer {layer} has both {' and '.join(begun)}; loaders would drop one"]
    missing = [name for name in expected[begun[0]] if name not in present]
    return [f"missing: {listing(missing)}"] if missing else []


def listing(names: list[str]) -> str:
    """Names in a sentence, the first dozen of them."""
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown}, and {len(names) - _LISTED} more"
