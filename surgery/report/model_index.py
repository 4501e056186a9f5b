"""Measured numbers in the Hub's model-index form: one result a suite, one metric a row of the report.

(huggingface.co/docs/hub/model-cards#evaluation-results.) A share is a fraction of 1. What the base model
scored, the interval and n stand in the metric's name, since the form has no place for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.report.numbers import items, level
from surgery.report.report import Report
from surgery.report.text import one_line
from surgery.verify.rows import Row
from surgery.verify.suites import SUITES

_DIGITS = 4


def model_index(report: Report) -> list[dict[str, Any]]:
    """The `model-index` of a report's card; empty where nothing was measured."""
    rows = report.verification.rows if report.verification is not None else ()
    results = []
    for suite, source in report.measured_on.items():
        metrics = [_metric(row) for row in _levels(rows, suite)]
        if metrics:
            task = {"type": "text-generation", "name": SUITES[suite].task}
            results.append({"task": task, "dataset": _dataset(source), "metrics": metrics})
    return [{"name": one_line(report.name), "results": results}] if results else []


def _levels(rows: tuple[Row, ...], suite: str) -> list[Row]:
    """The rows that say how the edited model scores, each number once."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.suite == suite and row.edited is not None and (row.base is not None or row.change is None):
            found.setdefault(row.label.removesuffix(", level"), row)
    return list(found.values())


def _metric(row: Row) -> dict[str, Any]:
    assert row.edited is not None
    kind = SUITES[row.suite].metric
    if SUITES[row.suite].detected and not row.label.startswith("refusal"):
        kind = f"{row.label.split(',')[0].replace(' ', '_')}_rate"
    low, high = (level(each, row.unit) for each in (row.edited.low, row.edited.high))
    known = [f"95 % interval {low} to {high}", f"n = {items(row)}"]
    if row.base is not None:
        known.insert(0, f"base model {level(row.base.value, row.unit)}")
    return {
        "type": kind,
        "value": round(row.edited.value, _DIGITS),
        "name": f"{row.label}: edited model ({', '.join(known)})",
    }


def _dataset(source: Mapping[str, str]) -> dict[str, str]:
    """A Hub dataset under its id; anything else under the name the recipe gives it."""
    name = one_line(source["source"])
    found = {"type": name, "name": name}
    if "file" in source:
        found["name"] = f"{name}, {one_line(source['file'])}"
    if "revision" in source:
        found["revision"] = one_line(source["revision"])
    return found
