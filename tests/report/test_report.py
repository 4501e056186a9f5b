from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from surgery.report.report import Report, plain, report_as_json
from surgery.report.writing import write_report
from surgery.verify.records import record_as_json
from surgery.verify.statistics import Estimate


def test_json_keeps_what_the_report_holds(report: Report) -> None:
    found = json.loads(json.dumps(report_as_json(report), allow_nan=False))
    assert found["schema"] == "surgery-report/1"
    assert found["verdict"] == report.verdict == "inconclusive"
    assert found["directions"][0]["direction"]["sha256"] == report.directions[0].direction.sha256
    assert "vector" not in found["directions"][0]["direction"]
    assert len(found["directions"][0]["selection"]["candidates"]) == 18
    assert found["verification"]["rows"][0]["gate"]["verdict"] == "pass"
    assert "records" not in found["verification"]
    assert len(found["edit"]["edits"]) == report.edit.n_edits


def test_json_is_the_same_every_time(report: Report) -> None:
    backwards = replace(
        report,
        environment=replace(report.environment, versions=dict(reversed(report.environment.versions.items()))),
    )
    assert json.dumps(report_as_json(report)) == json.dumps(report_as_json(backwards))


def test_a_number_that_is_none_becomes_null(example: ModuleType, report: Report) -> None:
    broken = replace(example.rows()[0], edited=Estimate(math.nan, -math.inf, math.inf))
    assert report.verification is not None
    found = report_as_json(replace(report, verification=replace(report.verification, rows=(broken,))))
    assert found["verification"]["rows"][0]["edited"] == {"value": None, "low": None, "high": None}
    assert plain(np.array([1.0, np.nan])) == [1.0, None]
    assert plain({"b": np.float32(1), "a": Path("x/y")}) == {"a": "x/y", "b": 1.0}
    with pytest.raises(TypeError, match="object has no place"):
        plain(object())


def test_three_files_are_written(report: Report, tmp_path: Path) -> None:
    (tmp_path / "surgery").mkdir()
    write_report(report, tmp_path)
    assert report.verification is not None
    lines = (tmp_path / "surgery" / "records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        record_as_json(each) for each in report.verification.records
    ]
    assert json.loads((tmp_path / "surgery" / "report.json").read_text()) == report_as_json(report)
    assert (tmp_path / "surgery" / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_half_a_surrogate_pair_survives(report: Report, tmp_path: Path) -> None:
    odd = replace(report, recipe_text="# \ud83d", verification=None)
    write_report(odd, tmp_path)
    assert json.loads((tmp_path / "surgery" / "report.json").read_text())["recipe"] == "# \ud83d"
    assert "⟨U+D83D⟩" in (tmp_path / "surgery" / "report.html").read_text()
    assert not (tmp_path / "surgery" / "records.jsonl").exists()


def test_without_a_measurement_there_is_no_verdict(report: Report) -> None:
    assert replace(report, verification=None).verdict == "not measured"
