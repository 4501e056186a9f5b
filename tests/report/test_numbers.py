from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import pytest

from surgery.report import numbers
from surgery.verify.gates import GateResult
from surgery.verify.rows import Row
from surgery.verify.statistics import Estimate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.level(0.935, "share"), "93.5 %"),
        (numbers.level(0.0, "share"), "0.0 %"),
        (numbers.level(0.0212, "nats"), "0.021"),
        (numbers.level(0.00004, "nats"), "4e-5"),
        (numbers.level(math.nan, "share"), "–"),
        (numbers.level(None, "nats"), "–"),
        (numbers.difference(-0.005, "share"), "−0.5"),
        (numbers.difference(0.011, "share"), "1.1"),
        (numbers.difference(-0.00001, "share"), "0.0"),
        (numbers.difference(0.005, "nats"), "+0.005"),
        (numbers.tiny(8e-8), "8e-8"),
        (numbers.tiny(0.0), "0"),
        (numbers.tiny(3172.4), "3,172"),
        (numbers.tiny(math.inf), "–"),
        (numbers.part_of_size(1_212_416, 3_702_112), "1.2 of 3.7 MB"),
        (numbers.part_of_size(980, 3_702_112), "980 B of 3.7 MB"),
        (numbers.short_count(1_892_352), "1.9 M"),
        (numbers.duration(41.2), "41 s"),
        (numbers.duration(0.42), "0.4 s"),
        (numbers.duration(59.7), "1 min 0 s"),
        (numbers.duration(7_500), "2 h 5 min"),
        (numbers.probability(1.6e-30), "p < 0.001"),
        (numbers.probability(0.0312), "p = 0.031"),
    ],
)
def test_how_numbers_are_written(text: str, expected: str) -> None:
    assert text == expected


def test_a_change_has_its_interval_and_a_mean_its_spread(example: ModuleType) -> None:
    by_label = {row.label: row for row in example.rows()}
    assert numbers.change(by_label["quiz"]) == "−0.5 [−2.1, 1.1]"
    assert numbers.change(by_label["KL first token"]) == "p95 0.110, max 0.350"
    topic = by_label["on topic, harmful"]
    assert numbers.change(topic) == ""
    assert numbers.items(topic) == "100"
    assert numbers.items(replace(topic, base=topic.edited, n_base=2)) == "2 → 100"
    assert numbers.change(example.controls()[0]) == "0.0 [−3.7, 3.7]"


def test_details_are_written_in_their_own_units(example: ModuleType) -> None:
    row = Row(
        "x",
        "preference",
        "share",
        None,
        None,
        None,
        9,
        None,
        {"likelier_base": 0.5, "likelier_p_value": 1e-9},
    )
    assert numbers.details(row) == "likelier base 50.0 %, likelier p value < 0.001"
    entropy = next(each for each in example.rows() if each.label == "cross-entropy")
    assert numbers.details(entropy) == "tokens 1,800, perplexity base 3.33, perplexity edited 3.35"


def test_a_verdict_says_what_was_held() -> None:
    held, change = Estimate(0.0, 0.0, 0.0362), Estimate(0.01, -0.02, 0.04)
    row = Row("x", "refusal", "share", held, held, change, 100)
    assert (
        numbers.verdict(GateResult("≤ 5 %", "pass", None, "upper95", held), row)
        == "pass, upper 95 % end 3.6 %"
    )
    assert numbers.verdict(GateResult("≤ 5 %", "pass", None, "point", held), row) == "pass"
    assert (
        numbers.verdict(GateResult("≥ −5 %", "fail", None, "lower95", change), row)
        == "fail, lower 95 % end −2.0"
    )
    open_gate = GateResult("≤ 2 %", "inconclusive", 1180, "upper95", held)
    assert numbers.verdict(open_gate, row) == "inconclusive, needs n ≥ 1,180"
    assert numbers.verdict(GateResult("≤ 2 %", "inconclusive", None, "upper95", held), row) == "inconclusive"
