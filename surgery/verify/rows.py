"""One measured line: before, after, the change with its interval, n, the test, and the gate on it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from surgery.recipe.verifying import Gate
from surgery.verify.gates import GateResult, Unit, judge
from surgery.verify.records import Record
from surgery.verify.sampled import Sampled, sampled_difference, sampled_mean, sampled_share
from surgery.verify.statistics import Estimate, Pairs, bootstrap_mean, mcnemar

RecordPairs = Sequence[tuple[Record, Record]]


@dataclass(frozen=True)
class Row:
    """One line of the table. `change` is edited minus base; what does not apply is None."""

    label: str
    suite: str
    unit: Unit
    base: Estimate | None
    edited: Estimate | None
    change: Estimate | None
    n: int
    p_value: float | None = None
    """Exact McNemar, two-sided; only where the row's numbers are paired shares."""
    detail: Mapping[str, float] = field(default_factory=dict)
    gate: GateResult | None = None
    n_base: int | None = None
    """Of the base, where its number is of fewer or more items than `n`."""


@dataclass(frozen=True)
class Held:
    """A gate with the number it holds; `signed` where that number is a change."""

    gate: Gate
    measured: Sampled
    signed: bool
    note: str = ""


def gated(row: Row, held: Sequence[Held]) -> list[Row]:
    """The row with its first gate, and a further row for each gate more, which shows what that one holds."""
    results = [
        judge(each.gate, each.measured, unit=row.unit, signed=each.signed, note=each.note) for each in held
    ]
    if not results:
        return [row]
    further = [
        replace(
            row,
            label=f"{row.label}, {'change' if each.signed else 'level'}",
            base=None,
            edited=None if each.signed else row.edited,
            change=row.change if each.signed else None,
            p_value=None,
            detail={},
            gate=result,
        )
        for each, result in zip(held[1:], results[1:], strict=True)
    ]
    return [replace(row, gate=results[0]), *further]


@dataclass(frozen=True)
class PairedShares:
    """A yes-no answer to the same items on two sides."""

    base: Sampled
    edited: Sampled
    change: Sampled
    p_value: float


def paired_shares(base: Sequence[bool], edited: Sequence[bool]) -> PairedShares:
    """Shares of yes before and after, and the change; items stand in the same order."""
    n = len(base)
    both = sum(before and after for before, after in zip(base, edited, strict=True))
    gained, lost = sum(edited) - both, sum(base) - both
    return PairedShares(
        base=sampled_share(sum(base), n),
        edited=sampled_share(sum(edited), n),
        change=sampled_difference(Pairs(both, gained, lost, n - both - gained - lost)),
        p_value=mcnemar(gained, lost),
    )


def generator_for(seed: int, label: str) -> np.random.Generator:
    """A generator of its own for each label, so that a row's numbers do not depend on the others."""
    return np.random.default_rng([seed, zlib.crc32(label.encode())])


def share_row(label: str, suite: str, shares: PairedShares, detail: Mapping[str, float]) -> Row:
    """The row of a yes-no answer."""
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


def mean_row(
    label: str,
    suite: str,
    unit: Unit,
    sides: list[np.ndarray],
    seed: int,
    *,
    weights: np.ndarray | None = None,
) -> tuple[Row, Sampled]:
    """The row of a mean over items, (n,) numbers a side, each counted by its weight; and its change."""

    def mean(values: np.ndarray) -> Estimate:
        return bootstrap_mean(values, generator=generator_for(seed, label), weights=weights)

    n, change = len(sides[0]), mean(sides[1] - sides[0])
    return Row(label, suite, unit, mean(sides[0]), mean(sides[1]), change, n), sampled_mean(change, n)
