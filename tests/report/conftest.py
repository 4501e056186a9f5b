"""The report that these tests show: invented values, see `example_report`."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from surgery.report.report import Report


@pytest.fixture(scope="session")
def example() -> ModuleType:
    """The module `example_report`: its functions make reports and their parts."""
    spec = spec_from_file_location("example_report", Path(__file__).parent / "example_report.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def report(example: ModuleType) -> Report:
    made: Report = example.example_report()
    return made


@pytest.fixture
def failed(example: ModuleType) -> Report:
    made: Report = example.failed_report()
    return made
