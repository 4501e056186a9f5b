"""The report that these tests show: invented values, see `example_report`."""

from __future__ import annotations

import pytest
from example_report import example_report, failed_report

from surgery.report.report import Report


@pytest.fixture
def report() -> Report:
    return example_report()


@pytest.fixture
def failed() -> Report:
    return failed_report()
