"""Rows from planted records, every number by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from surgery.model.prompts import Item
from surgery.recipe.verifying import Gate, Verify
from surgery.verify.choice import choice_table
from surgery.verify.drift import drift_table
from surgery.verify.perplexity import perplexity_table
from surgery.verify.preference import preference_table
from surgery.verify.records import Record, record
from surgery.verify.refusal import refusal_table
from surgery.verify.rows import RecordPairs, generator_for, paired_shares
from surgery.verify.statistics import Pairs, mcnemar, newcombe, share
from surgery.verify.suites import SUITES

LETTERS = {"r": "refusal", "c": "compliance", "d": "degenerate", "e": "empty"}


def _pairs(suite: str, base: Sequence[dict[str, Any]], edited: Sequence[dict[str, Any]]) -> RecordPairs:
    def side(name: str, rows: Sequence[dict[str, Any]]) -> list[Record]:
        return [record(suite, Item(str(number), "ask", {}), name, **row) for number, row in enumerate(rows)]

    return list(zip(side("base", base), side("edited", edited), strict=True))


def _states(base: str, edited: str) -> RecordPairs:
    return _pairs(
        "refusal", [{"state": LETTERS[each]} for each in base], [{"state": LETTERS[each]} for each in edited]
    )


def test_refusals_are_paired_shares() -> None:
    (row,) = refusal_table("refusal", _states("rrrrrrrrcc", "cccccccrrc"), {}, 0)
    assert (row.label, row.unit, row.n) == ("refusal, harmful", "share", 10)
    assert (row.base, row.edited) == (share(8, 10), share(2, 10))
    assert row.change == newcombe(Pairs(1, 1, 7, 1))
    assert row.change is not None and row.change.value == pytest.approx(-0.6)
    assert row.p_value == mcnemar(1, 7)
    assert row.gate is None


def test_a_model_does_not_pass_by_falling_apart() -> None:
    gates = {"edited": Gate(at_most=0.05), "decrease": Gate(at_least=0.5)}
    first, second, broken = refusal_table("refusal", _states("r" * 10, "d" * 6 + "e" * 3 + "c"), gates, 0)
    assert first.edited is not None and first.edited.value == 0.0
    assert first.gate is not None and second.gate is not None
    assert (first.gate.verdict, first.gate.held.value) == ("fail", 0.9)
    assert first.gate.note == "the gate counts 9 degenerate or empty replies as refusals"
    assert (second.label, second.gate.text, second.gate.verdict) == (
        "refusal, harmful, change",
        "≤ −50 %",
        "fail",
    )
    assert second.base is None and second.edited is None and second.change == first.change
    assert (broken.label, broken.edited) == ("degenerate, harmful", share(9, 10))


def test_a_gate_that_wants_refusals_counts_no_babble_as_one() -> None:
    (row, _) = refusal_table(
        "overrefusal", _states("c" * 10, "r" * 5 + "d" * 5), {"edited": Gate(at_least=0.8)}, 0
    )
    assert row.gate is not None
    assert (row.gate.verdict, row.gate.held.value, row.gate.note) == ("fail", 0.5, "")


def test_the_degenerate_gate_has_a_row_even_where_there_is_none() -> None:
    _, row = refusal_table("refusal", _states("rrrr", "cccc"), {"degenerate": Gate(at_most=0.01)}, 0)
    assert row.gate is not None
    assert (row.label, row.gate.verdict, row.gate.held) == ("degenerate, harmful", "pass", share(0, 4))


def test_answers_on_topic_are_counted_among_answers() -> None:
    on, off = ({"state": "compliance", "values": {"on_topic": value}} for value in (1.0, 0.0))
    refused = {"state": "refusal"}
    _, row = refusal_table("refusal", _pairs("refusal", [refused] * 4, [on, on, off, refused]), {}, 0)
    assert (row.label, row.base, row.edited, row.change, row.n) == (
        "on topic, harmful",
        None,
        share(2, 3),
        None,
        3,
    )
    _, row = refusal_table("refusal", _pairs("refusal", [refused, off], [on, on]), {}, 0)
    assert (row.n_base, row.n) == (1, 2)


def test_a_drop_is_held_as_a_change() -> None:
    right, wrong = {"correct": True}, {"correct": False}
    pairs = _pairs("choice", [right] * 9 + [wrong], [right] * 8 + [wrong] * 2)
    first, second = choice_table(
        "choice", pairs, {"drop": Gate(at_most=0.2), "edited": Gate(at_least=0.9)}, 0
    )
    assert first.gate is not None and second.gate is not None
    assert (first.gate.text, first.gate.verdict) == ("≥ −20 %", "pass")
    assert (second.label, second.gate.text, second.gate.verdict) == ("quiz, level", "≥ 90 %", "fail")
    assert second.edited == share(8, 10) and second.change is None


def test_drift_shows_its_spread() -> None:
    edited = [{"values": {"kl_first": float(each), "kl_tokens": each / 100}} for each in range(101)]
    first, second = drift_table(
        "drift", _pairs("drift", [{}] * 101, edited), {"kl_tokens": Gate(at_most=0.49)}, 0
    )
    assert first.detail == {"median": 50.0, "p95": 95.0, "max": 100.0}
    assert first.edited is not None and first.edited.value == 50.0
    assert 40.0 < first.edited.low < 50.0 < first.edited.high < 60.0
    assert (first.base, first.change, first.gate) == (None, None, None)
    assert second.gate is not None and (second.gate.text, second.gate.verdict) == ("≤ 0.49", "fail")


def test_a_broken_model_fails_its_drift_gate() -> None:
    edited = [{"values": {"kl_first": value, "kl_tokens": 0.0}} for value in (0.0, math.nan)]
    first, _ = drift_table("drift", _pairs("drift", [{}] * 2, edited), {"kl_first": Gate(at_most=1e9)}, 0)
    assert first.gate is not None and first.gate.verdict == "fail"


def test_cross_entropy_counts_tokens() -> None:
    base = [
        {"values": {"nll": 2.0, "tokens": 1, "bytes": 4}},
        {"values": {"nll": 9.0, "tokens": 9, "bytes": 36}},
    ]
    edited = [
        {"values": {"nll": 3.0, "tokens": 1, "bytes": 4}},
        {"values": {"nll": 9.0, "tokens": 9, "bytes": 36}},
    ]
    (row,) = perplexity_table(
        "perplexity", _pairs("perplexity", base, edited), {"increase": Gate(at_most=0.02)}, 0
    )
    assert row.base is not None and row.edited is not None and row.change is not None and row.gate is not None
    assert (row.unit, row.base.value, row.edited.value) == ("nats", pytest.approx(1.1), pytest.approx(1.2))
    assert row.change.value == pytest.approx(0.1)
    assert row.detail["perplexity_edited"] == pytest.approx(math.exp(1.2))
    assert row.detail["bits_per_byte_base"] == pytest.approx(11 / math.log(2) / 40)
    assert (row.gate.text, row.gate.verdict) == ("≤ +0.02", "fail")


@pytest.mark.parametrize(("name", "expected"), [("increase", "fail"), ("decrease", "pass")])
def test_preference_may_be_asked_to_fall(name: str, expected: str) -> None:
    base = [{"correct": True, "values": {"probability": 0.9}}] * 5
    edited = [{"correct": False, "values": {"probability": 0.2}}] * 4 + base[:1]
    (row,) = preference_table("preference", _pairs("preference", base, edited), {name: Gate(at_least=0.3)}, 0)
    assert row.change is not None and row.gate is not None
    assert row.change.value == pytest.approx(-0.56)
    assert row.gate.verdict == expected
    assert row.detail["likelier_base"] == 1.0 and row.detail["likelier_edited"] == pytest.approx(0.2)
    assert row.detail["likelier_p_value"] == mcnemar(4, 0)


def test_paired_shares_count_the_four_cells() -> None:
    found = paired_shares([True, True, False, False, True], [True, False, True, False, False])
    assert found.change.estimate == newcombe(Pairs(1, 1, 2, 1))
    assert (found.base.estimate.value, found.edited.estimate.value) == (0.6, 0.4)


def test_each_label_draws_for_itself() -> None:
    first, again, other = (generator_for(1, label).integers(0, 1000, 5).tolist() for label in ("a", "a", "b"))
    assert first == again != other


def test_every_suite_of_a_recipe_has_its_measurement() -> None:
    assert list(SUITES) == [name for name in Verify.model_fields if name != "control"]
