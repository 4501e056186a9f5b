"""Base and edited side by side: rows with intervals and gates, transcripts, a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from surgery.errors import VerifyError
from surgery.recipe.verifying import Gate, Verify
from surgery.verify.detector import DETECTOR, DETECTOR_NOTE
from surgery.verify.gates import Verdict, worst
from surgery.verify.measurement import Measurement
from surgery.verify.records import Record, paired
from surgery.verify.rows import Row
from surgery.verify.suites import SUITES
from surgery.verify.transcripts import Transcript, pick_transcripts


@dataclass(frozen=True)
class Verification:
    """What the edit did to behaviour and capability."""

    rows: tuple[Row, ...]
    controls: tuple[Row, ...]
    """The same numbers for other edits of the base (random directions), without gates."""
    verdict: Verdict
    """The worst of all gates; `no gates` where the recipe has none."""
    detector: str
    detector_note: str
    unchanged: bool
    """Whether the edited model computes what the base does, bit for bit, wherever the two were compared."""
    notes: tuple[str, ...]
    records: tuple[Record, ...]
    transcripts: tuple[Transcript, ...]


def compare(
    base: Measurement, edited: Measurement, controls: Sequence[Measurement], verify: Verify, *, seed: int
) -> Verification:
    """Pair the records of two sides, item by item, and judge the recipe's gates.

    Args:
        controls: further measurements, shown beside the base without gates.
        seed: of the bootstrap and of the choice of transcripts.

    Raises:
        VerifyError: a suite was not measured on the edited side, or the two sides saw different items.
    """
    if missing := set(base.suites) - set(edited.suites):
        raise VerifyError(f"the edited model was not measured on: {', '.join(sorted(missing))}")
    rows = [row for suite in base.suites for row in _table(base, edited, suite, _gates(verify, suite), seed)]
    unchanged = _unchanged(base, edited)
    return Verification(
        rows=tuple(rows),
        controls=tuple(row for control in controls for row in _control_rows(base, control, seed)),
        verdict=worst([row.gate.verdict for row in rows if row.gate is not None]),
        detector=DETECTOR,
        detector_note=DETECTOR_NOTE,
        unchanged=unchanged,
        notes=tuple(_notes(rows, unchanged)),
        records=tuple(record for side in (base, edited, *controls) for record in side.records),
        transcripts=pick_transcripts(base, edited, seed=seed),
    )


def _table(
    base: Measurement, edited: Measurement, suite: str, gates: Mapping[str, Gate], seed: int
) -> list[Row]:
    return SUITES[suite].table(suite, paired(base.records, edited.records, suite), gates, seed)


def _gates(verify: Verify, suite: str) -> dict[str, Gate]:
    section = getattr(verify, suite)
    return {} if section is None else {name: value for name, value in section if isinstance(value, Gate)}


def _control_rows(base: Measurement, control: Measurement, seed: int) -> list[Row]:
    """The main row of each suite the control was measured on, under the control's name."""
    rows = [_table(base, control, suite, {}, seed)[0] for suite in control.suites]
    if len(rows) == 1:
        return [replace(rows[0], label=control.side)]
    return [replace(row, label=f"{control.side}: {row.label}") for row in rows]


def _unchanged(base: Measurement, edited: Measurement) -> bool:
    """Equal first-token distributions where drift was measured, else equal likelihoods of every answer."""
    if "drift" in base.suites:
        return all(record.values["unchanged"] == 1.0 for record in edited.records if record.suite == "drift")
    scored = [
        (before, after)
        for suite in base.suites
        for before, after in paired(base.records, edited.records, suite)
        if before.log_likelihoods or "nll" in before.values
    ]
    return bool(scored) and all(
        before.log_likelihoods == after.log_likelihoods and before.values == after.values
        for before, after in scored
    )


def _notes(rows: Sequence[Row], unchanged: bool) -> list[str]:
    notes = [f"{row.label}: {row.gate.note}" for row in rows if row.gate is not None and row.gate.note]
    if unchanged:
        notes.insert(
            0, "the edited model computes exactly what the base model does: the edit changed nothing"
        )
    return notes
