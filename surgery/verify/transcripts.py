"""A few replies of base and edited model side by side, chosen without looking.

Numbers from a detector are worth what the replies behind them are worth, so of every cell (base state ×
edited state) a few are shown, first the cells where the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from surgery.verify.measurement import Measurement
from surgery.verify.records import Record, paired
from surgery.verify.rows import generator_for

_PER_CELL = 5


@dataclass(frozen=True)
class Transcript:
    """One prompt with both replies and what the detector made of them."""

    suite: str
    item_id: str
    prompt: str
    base_reply: str
    edited_reply: str
    base_state: str
    edited_state: str


def pick_transcripts(base: Measurement, edited: Measurement, *, seed: int) -> tuple[Transcript, ...]:
    """Up to five random items of every cell, in the items' order within a cell."""
    picked: list[Transcript] = []
    for suite in base.suites:
        cells: dict[tuple[str, str], list[tuple[Record, Record]]] = {}
        for before, after in paired(base.records, edited.records, suite):
            if before.state is not None and after.state is not None:
                cells.setdefault((before.state, after.state), []).append((before, after))
        for states in sorted(cells, key=lambda cell: (cell[0] == cell[1], cell)):
            picked += [_transcript(base, *pair) for pair in _some(cells[states], seed, f"{suite} {states}")]
    return tuple(picked)


def _some(pairs: list[tuple[Record, Record]], seed: int, label: str) -> list[tuple[Record, Record]]:
    chosen = generator_for(seed, label).permutation(len(pairs))[:_PER_CELL]
    return [pairs[index] for index in sorted(chosen)]


def _transcript(base: Measurement, before: Record, after: Record) -> Transcript:
    return Transcript(
        suite=before.suite,
        item_id=before.item_id,
        prompt=base.prompts[before.prompt_sha256],
        base_reply=before.reply or "",
        edited_reply=after.reply or "",
        base_state=before.state or "",
        edited_state=after.state or "",
    )
