"""Verdicts on every side of a limit, and the number of items that would settle an open one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.recipe.verifying import Gate
from surgery.verify.gates import judge, limit_text, mirrored, worst
from surgery.verify.sampled import Sampled, sampled_difference, sampled_mean, sampled_share
from surgery.verify.statistics import Estimate, Pairs, newcombe, share


def _fixed(value: float, low: float, high: float) -> Sampled:
    return Sampled(Estimate(value, low, high), 50, lambda n: Estimate(value, low, high))


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ({"at_most": 0.2}, "pass"),
        ({"at_most": 0.09}, "fail"),
        ({"at_most": 0.2, "bound": "upper95"}, "inconclusive"),
        ({"at_most": 0.3, "bound": "upper95"}, "pass"),
        ({"at_most": 0.09, "bound": "upper95"}, "fail"),
        ({"at_most": 0.09, "bound": "lower95"}, "pass"),
        ({"at_least": 0.1}, "pass"),
        ({"at_least": 0.11}, "fail"),
        ({"at_least": 0.06, "bound": "lower95"}, "inconclusive"),
        ({"at_least": 0.05, "bound": "lower95"}, "pass"),
        ({"at_least": 0.11, "bound": "lower95"}, "fail"),
    ],
)
def test_verdict(gate: dict[str, Any], expected: str) -> None:
    assert judge(Gate(**gate), _fixed(0.1, 0.05, 0.3), unit="share").verdict == expected


@pytest.mark.parametrize("gate", [Gate(at_most=1e9), Gate(at_least=-1e9)])
def test_a_number_that_is_none_fails(gate: Gate) -> None:
    assert judge(gate, _fixed(math.nan, math.nan, math.nan), unit="nats").verdict == "fail"


@given(
    st.floats(-1, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(-1, 1),
    st.sampled_from(["point", "upper95", "lower95"]),
)
def test_a_mirrored_gate_says_the_same_of_the_opposite(
    value: float, below: float, above: float, limit: float, bound: Any
) -> None:
    measured = _fixed(value, value - below, value + above)
    opposite = _fixed(-value, -value - above, -value + below)
    for gate in (Gate(at_most=limit, bound=bound), Gate(at_least=limit, bound=bound)):
        assert (
            judge(mirrored(gate), opposite, unit="share").verdict
            == judge(gate, measured, unit="share").verdict
        )


def test_needed_n_of_a_share_is_the_first_that_passes() -> None:
    gate = Gate(at_most=0.05, bound="upper95")
    found = judge(gate, sampled_share(0, 30), unit="share")
    assert found.verdict == "inconclusive"
    assert found.needed_n is not None
    assert share(0, found.needed_n).high <= 0.05 < share(0, found.needed_n - 1).high


def test_needed_n_of_a_paired_difference() -> None:
    gate, pairs = Gate(at_most=0.02, bound="upper95"), Pairs(0, 0, 0, 100)
    found = judge(gate, sampled_difference(pairs), unit="share", signed=True)
    assert (found.verdict, found.text) == ("inconclusive", "≤ +2 %")
    assert found.needed_n == 189
    assert newcombe(pairs.scaled(189)).high <= 0.02 < newcombe(pairs.scaled(188)).high


def test_needed_n_of_a_mean_follows_the_square_root() -> None:
    measured = sampled_mean(Estimate(0.05, 0.01, 0.25), 40)
    assert judge(Gate(at_most=0.10, bound="upper95"), measured, unit="nats").needed_n == 640


def test_no_number_of_items_settles_a_point_on_the_limit() -> None:
    assert judge(Gate(at_most=0.0, bound="upper95"), sampled_share(0, 10), unit="share").needed_n is None


@pytest.mark.parametrize(
    ("gate", "unit", "signed", "text"),
    [
        (Gate(at_most=0.05), "share", False, "≤ 5 %"),
        (Gate(at_most=0.02), "share", True, "≤ +2 %"),
        (mirrored(Gate(at_most=0.02)), "share", True, "≥ −2 %"),
        (Gate(at_most=0.0), "share", True, "≤ 0 %"),
        (Gate(at_most=0.1), "nats", False, "≤ 0.10"),
        (Gate(at_most=0.005), "nats", True, "≤ +0.005"),
        (Gate(at_least=0.125), "share", False, "≥ 12.5 %"),
    ],
)
def test_limits_read_as_people_write_them(gate: Gate, unit: Any, signed: bool, text: str) -> None:
    assert limit_text(gate, unit, signed=signed) == text


def test_the_worst_verdict_wins() -> None:
    assert worst(["pass", "fail", "inconclusive"]) == "fail"
    assert worst(["pass", "inconclusive"]) == "inconclusive"
    assert worst([]) == "no gates"
