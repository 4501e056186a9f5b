"""What a run says of itself in words: what was done, what that did, and what nobody looked at.

The words follow the numbers. A behaviour fell or rose only where the whole 95 % interval of the change lies
on one side of zero; otherwise the sentence says that no change was shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from surgery.report.numbers import change, count, difference, level, plain, verdict
from surgery.report.report import Report
from surgery.report.steps import Effect
from surgery.report.text import code
from surgery.verify.rows import Row
from surgery.verify.suites import SUITES

_WRITTEN = "what the edited tensors write to the residual stream"
_EFFECTS = {
    "removed": f"was removed from {_WRITTEN}",
    "weakened": f"was weakened in {_WRITTEN}",
    "strengthened": f"was strengthened in {_WRITTEN}",
    "reversed": f"was reversed in {_WRITTEN}",
    "unchanged": "was left as it is",
}


def effect_sentence(effect: Effect) -> str:
    """What one step did: `The direction refusal was removed from … (…, strength 1).`"""
    name = code(effect.direction)
    if effect.kind == "added":
        length = f" ({effect.length})" if effect.length else ""
        return f"A vector along the direction {name}{length} was added to the output of layer {effect.layer}."
    assert effect.strength is not None
    number = plain(effect.strength)
    strength = f"up to {number}, less in other layers" if effect.graded else number
    how = f"(directional ablation, strength {strength})"
    return f"The direction {name} {_EFFECTS[effect.kind]} {how}."


def row_sentence(row: Row) -> str:
    """What a suite's main row says: `Refusals of harmful requests fell from 100.0 % to 0.0 % (…)`."""
    assert row.base is not None and row.edited is not None and row.change is not None
    name = SUITES[row.suite].behaviour or row.label
    before, after = level(row.base.value, row.unit), level(row.edited.value, row.unit)
    numbers = f"change {change(row)} {'points' if row.unit == 'share' else 'nats'}, n = {count(row.n)}"
    if row.change.high < 0 or row.change.low > 0:
        return f"{name} {'fell' if row.change.high < 0 else 'rose'} from {before} to {after} ({numbers})."
    return f"{name}: {before} before, {after} after; no change was shown ({numbers})."


def behaviour_sentences(report: Report) -> list[str]:
    """One sentence for each suite that measures the behaviour itself."""
    return [row_sentence(row) for row in _behaviour_rows(report)]


def consequence(report: Report) -> str | None:
    """What the measured change means for whoever uses the model; None where nothing was shown."""
    changes = {row.suite: row.change for row in _behaviour_rows(report) if row.change is not None}
    harmful, harmless = changes.get("refusal"), changes.get("overrefusal")
    if harmful is not None and harmful.high < 0:
        return (
            "It answers requests that its base model declines, and its answers may be harmful. It has fewer"
            " safeguards than its base: whoever deploys it must add their own, and answers for its use under"
            " the law and the base model's licence."
        )
    if harmful is not None and harmful.low > 0:
        more = " and of harmless ones" if harmless is not None and harmless.low > 0 else ""
        return f"It declines more of the harmful requests{more} than its base model does."
    if harmless is not None and harmless.low > 0:
        return "It declines harmless requests that its base model answers."
    return None


def undo_sentence(report: Report) -> str:
    """How to get the base model back, and whether these weights alone can give it.

    A component weakened to 1 − s is brought back by an ablation of strength −s / (1 − s).
    """
    at = f" at commit {code(report.model.commit)}" if report.model.commit else ""
    said = f"Use the base model {code(report.model.source)}{at}."
    effects = report.edit.effects
    if any(each.kind == "removed" for each in effects):
        return (
            f"{said} What a projection at strength 1 removed is gone from these weights and cannot be"
            " computed from them."
        )
    strengths = {strength for edit in report.edit.edits for strength in edit.strengths}
    if len(effects) == 1 and len(strengths) == 1 and strengths != {1.0}:
        s = strengths.pop()
        return (
            f"{said} From these weights alone: an ablation of strength {-s / (1 - s):.4g} along"
            f" {code(effects[0].direction)} of `surgery/direction.safetensors`, over the same writers, brings"
            " the component back, up to rounding."
        )
    return f"{said} Rounding keeps the edit from being taken back exactly from these weights alone."


def failed_gates(report: Report) -> list[str]:
    """Every gate that failed, in words: `refusal, harmful is 42.0 % and was to be ≤ 5 % (fail)`."""
    return _gates(report, "fail")


def open_gates(report: Report) -> list[str]:
    """Every gate that the number of items could not decide."""
    return _gates(report, "inconclusive")


def uses_detector(report: Report) -> bool:
    """Whether any number rests on telling refusals from answers."""
    return any(
        SUITES[row.suite].detected for row in (report.verification.rows if report.verification else ())
    )


def topic_note(rows: Sequence[Row]) -> str:
    """What "on topic" means, where a row says it."""
    is_said = any(row.label.startswith("on topic") for row in rows)
    return "On topic are, of the replies that answer, those that name what was asked for." if is_said else ""


def not_measured(report: Report) -> list[str]:
    """What the checks of this library could have answered and this run did not ask."""
    seen = {row.suite for row in report.verification.rows} if report.verification else set()
    return [suite.question for name, suite in SUITES.items() if name not in seen]


def _behaviour_rows(report: Report) -> list[Row]:
    """The main row of each behaviour suite: the first one with both sides and a change."""
    found: dict[str, Row] = {}
    for row in report.verification.rows if report.verification else ():
        if SUITES[row.suite].behaviour and row.base and row.edited and row.change:
            found.setdefault(row.suite, row)
    return list(found.values())


def _gates(report: Report, wanted: str) -> list[str]:
    rows = report.verification.rows if report.verification else ()
    return [_gate_text(row) for row in rows if row.gate is not None and row.gate.verdict == wanted]


def _gate_text(row: Row) -> str:
    assert row.gate is not None
    held = row.gate.held.value
    if row.gate.held == row.change:
        unit = "points" if row.unit == "share" else "nats"
        said = f"changed by {difference(held, row.unit)} {unit} and was to change by {row.gate.text}"
    else:
        said = f"is {level(held, row.unit)} and was to be {row.gate.text}"
    return f"{row.label} {said} ({verdict(row.gate, row)})"
