"""Limits on measured numbers, and what a number with an interval says about its limit.

A gate names the quantity it holds to its limit: the point, or an end of the two-sided 95 % interval.

    pass          the quantity is inside the limit
    fail          the point itself is outside
    inconclusive  the point is inside, the end of the interval that was asked for is not: too few items
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from surgery.recipe.verifying import Gate
from surgery.verify.sampled import Sampled
from surgery.verify.statistics import Estimate, needed_n

GateVerdict = Literal["pass", "inconclusive", "fail"]
Verdict = Literal["pass", "inconclusive", "fail", "no gates"]
Unit = Literal["share", "nats"]


@dataclass(frozen=True)
class GateResult:
    """A gate that was judged; `text` is the limit as a person reads it (`≤ 5 %`)."""

    text: str
    verdict: GateVerdict
    needed_n: int | None
    """Where inconclusive: how many items would settle it at these rates; None if ten million do not."""
    bound: str
    held: Estimate
    """What was held to the limit; not always the number shown beside it, see `note`."""
    note: str = ""


def judge(gate: Gate, measured: Sampled, *, unit: Unit, signed: bool = False, note: str = "") -> GateResult:
    """Hold a measured number to its gate.

    Args:
        signed: the number is a change, and its limit is written with a sign.
        note: what makes the number held differ from the number shown.
    """
    verdict = _verdict(gate, measured.estimate)
    settled = None
    if verdict == "inconclusive":
        settled = needed_n(measured.n, lambda n: _inside(gate, _bound(gate, measured.at(n))))
    return GateResult(
        limit_text(gate, unit, signed=signed), verdict, settled, gate.bound, measured.estimate, note
    )


def mirrored(gate: Gate) -> Gate:
    """The gate on −x that holds exactly where `gate` holds on x."""
    bound = {"upper95": "lower95", "lower95": "upper95"}.get(gate.bound, gate.bound)
    at_most = None if gate.at_least is None else -gate.at_least
    at_least = None if gate.at_most is None else -gate.at_most
    return gate.model_copy(update={"at_most": at_most, "at_least": at_least, "bound": bound})


def worst(verdicts: list[GateVerdict]) -> Verdict:
    """`fail` before `inconclusive` before `pass`; `no gates` where nothing was held to a limit."""
    order: tuple[GateVerdict, ...] = ("fail", "inconclusive", "pass")
    return next((each for each in order if each in verdicts), "no gates")


def limit_text(gate: Gate, unit: Unit, *, signed: bool = False) -> str:
    """`≤ 5 %`, `≥ −2 %`, `≤ 0.10`."""
    limit = gate.at_most if gate.at_most is not None else gate.at_least
    assert limit is not None
    number = f"{abs(100 * limit):.6g} %" if unit == "share" else _nats(abs(limit))
    sign = "−" if limit < 0 else "+" if signed and limit > 0 else ""
    return f"{'≤' if gate.at_most is not None else '≥'} {sign}{number}"


def _verdict(gate: Gate, estimate: Estimate) -> GateVerdict:
    if _inside(gate, _bound(gate, estimate)):
        return "pass"
    return "inconclusive" if _inside(gate, estimate.value) else "fail"


def _inside(gate: Gate, value: float) -> bool:
    # nan is inside nothing, so a broken model fails its gates.
    if gate.at_most is not None:
        return value <= gate.at_most
    return gate.at_least is not None and value >= gate.at_least


def _bound(gate: Gate, estimate: Estimate) -> float:
    return {"point": estimate.value, "upper95": estimate.high, "lower95": estimate.low}[gate.bound]


def _nats(value: float) -> str:
    return f"{value:.2f}" if value == round(value, 2) else f"{value:.6g}"
