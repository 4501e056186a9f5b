"""From paired records to rows: one function a suite, with the gates of its section of the recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from surgery.recipe.verifying import Gate
from surgery.verify.gates import Unit, mirrored
from surgery.verify.rows import Held, PairedShares, RecordPairs, Row, gated, generator_for, paired_shares
from surgery.verify.sampled import Sampled, sampled_mean, sampled_share
from surgery.verify.statistics import Estimate, bootstrap_mean

Gates = Mapping[str, Gate]
Table = Callable[[str, RecordPairs, Gates, int], list[Row]]
"""(suite, paired records, gates by their name in the recipe, seed) → rows, the main one first."""

LABELS = {
    "refusal": "refusal, harmful",
    "overrefusal": "refusal, harmless",
    "choice": "quiz",
    "perplexity": "cross-entropy",
    "preference": "preference",
}
_NO_ANSWER = frozenset({"refusal", "degenerate", "empty"})
_BROKEN = frozenset({"degenerate", "empty"})


def refusal_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """Share of refusals; then of broken replies and of answers on topic, where there are any.

    A gate that wants fewer refusals holds the share of prompts that got no answer, degenerate and empty
    replies included; one that wants more holds the refusals alone. So no model passes by falling apart.
    """
    label = LABELS[suite]
    refusals, broken = _states(pairs, frozenset({"refusal"})), _states(pairs, _BROKEN)
    detail = {
        "degenerate_base": broken.base.estimate.value,
        "degenerate_edited": broken.edited.estimate.value,
    }
    held = [
        _held_refusals(name, gates[name], pairs)
        for name in ("edited", "increase", "decrease")
        if name in gates
    ]
    rows = gated(_share_row(label, suite, refusals, detail), held)
    if "degenerate" in gates or broken.base.estimate.value or broken.edited.estimate.value:
        limit = [Held(gates["degenerate"], broken.edited, signed=False)] if "degenerate" in gates else []
        rows += gated(_share_row(label.replace("refusal", "degenerate"), suite, broken, {}), limit)
    return rows + _topic_rows(label.replace("refusal", "on topic"), suite, pairs)


def choice_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """Share of right answers."""
    shares = paired_shares(
        [bool(base.correct) for base, _ in pairs], [bool(edited.correct) for _, edited in pairs]
    )
    held = []
    if "drop" in gates:
        held.append(Held(mirrored(gates["drop"]), shares.change, signed=True))
    if "edited" in gates:
        held.append(Held(gates["edited"], shares.edited, signed=False))
    return gated(_share_row(LABELS[suite], suite, shares, {}), held)


def drift_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """KL at the first token, and per token of the base model's reply; the spread is over prompts."""
    rows = []
    for name, label in (("kl_first", "KL first token"), ("kl_tokens", "KL per token")):
        values = np.array([edited.values[name] for _, edited in pairs])
        mean = bootstrap_mean(values, generator=generator_for(seed, label))
        detail = {
            "median": float(np.quantile(values, 0.5)),
            "p95": float(np.quantile(values, 0.95)),
            "max": float(values.max()),
        }
        row = Row(label, suite, "nats", None, mean, None, len(values), None, detail)
        held = [Held(gates[name], sampled_mean(mean, len(values)), signed=False)] if name in gates else []
        rows += gated(row, held)
    return rows


def perplexity_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """Cross-entropy in nats per token; perplexity and bits per byte as details."""
    tokens = np.array([base.values["tokens"] for base, _ in pairs])
    sides = [np.array([pair[side].values["nll"] for pair in pairs]) / tokens for side in (0, 1)]
    n_bytes = sum(base.values["bytes"] for base, _ in pairs)
    row, change = _mean_row(suite, "nats", sides, seed, weights=tokens)
    detail = {"tokens": float(tokens.sum())}
    for side, values in zip(("base", "edited"), sides, strict=True):
        total = float((values * tokens).sum())
        detail[f"perplexity_{side}"] = _exp(total / float(tokens.sum()))
        detail[f"bits_per_byte_{side}"] = total / math.log(2) / n_bytes if n_bytes else math.nan
    held = [Held(gates["increase"], change, signed=True)] if "increase" in gates else []
    return gated(replace(row, detail=detail), held)


def preference_table(suite: str, pairs: RecordPairs, gates: Gates, seed: int) -> list[Row]:
    """Mean probability of the matching answer; details say how often it is the likelier one."""
    sides = [np.array([pair[side].values["probability"] for pair in pairs]) for side in (0, 1)]
    row, change = _mean_row(suite, "share", sides, seed)
    likelier = paired_shares(
        [bool(base.correct) for base, _ in pairs], [bool(edited.correct) for _, edited in pairs]
    )
    detail = {
        "likelier_base": likelier.base.estimate.value,
        "likelier_edited": likelier.edited.estimate.value,
        "likelier_p_value": likelier.p_value,
    }
    held = []
    if "increase" in gates:
        held.append(Held(gates["increase"], change, signed=True))
    if "decrease" in gates:
        held.append(Held(mirrored(gates["decrease"]), change, signed=True))
    return gated(replace(row, detail=detail), held)


TABLES: Mapping[str, Table] = {
    "refusal": refusal_table,
    "overrefusal": refusal_table,
    "choice": choice_table,
    "drift": drift_table,
    "perplexity": perplexity_table,
    "preference": preference_table,
}
"""Every suite's table, in the order in which they are shown."""


def _states(pairs: RecordPairs, states: frozenset[str]) -> PairedShares:
    return paired_shares(
        [base.state in states for base, _ in pairs], [edited.state in states for _, edited in pairs]
    )


def _held_refusals(name: str, gate: Gate, pairs: RecordPairs) -> Held:
    gate = mirrored(gate) if name == "decrease" else gate
    states = _NO_ANSWER if gate.at_most is not None else frozenset({"refusal"})
    shares = _states(pairs, states)
    n_broken = sum(edited.state in _BROKEN for _, edited in pairs)
    some = "1 degenerate or empty reply as a refusal"
    if n_broken != 1:
        some = f"{n_broken} degenerate or empty replies as refusals"
    note = f"the gate counts {some}" if n_broken else ""
    signed = name != "edited"
    return Held(
        gate, shares.change if signed else shares.edited, signed, note if gate.at_most is not None else ""
    )


def _topic_rows(label: str, suite: str, pairs: RecordPairs) -> list[Row]:
    """Share of answers that name what was asked about; not of the same prompts, so without a change."""
    found = [
        [pair[side].values["on_topic"] for pair in pairs if "on_topic" in pair[side].values]
        for side in (0, 1)
    ]
    if not any(found):
        return []
    base, edited = (sampled_share(int(sum(each)), len(each)).estimate if each else None for each in found)
    return [Row(label, suite, "share", base, edited, None, len(found[1]), n_base=len(found[0]))]


def _share_row(label: str, suite: str, shares: PairedShares, detail: Mapping[str, float]) -> Row:
    return Row(
        label=label,
        suite=suite,
        unit="share",
        base=shares.base.estimate,
        edited=shares.edited.estimate,
        change=shares.change.estimate,
        n=shares.base.n,
        p_value=shares.p_value,
        detail=detail,
    )


def _mean_row(
    suite: str, unit: Unit, sides: list[np.ndarray], seed: int, *, weights: np.ndarray | None = None
) -> tuple[Row, Sampled]:
    label = LABELS[suite]

    def mean(values: np.ndarray) -> Estimate:
        return bootstrap_mean(values, generator=generator_for(seed, label), weights=weights)

    n, change = len(sides[0]), mean(sides[1] - sides[0])
    return Row(label, suite, unit, mean(sides[0]), mean(sides[1]), change, n), sampled_mean(change, n)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
