"""Trackers, by stand-ins of their packages: what each is told, and when none is there."""

import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from surgery.errors import SourceError
from trainer.journal import Progress
from trainer.reader import parse_config
from trainer.sinks import sink

RUN = parse_config(
    """\
model: {source: somewhere}
hook: {layer: 1}
data: {train: [{source: a.txt}], held_out: [{source: b.txt}], context: 4, batch: 2}
dictionary: {architecture: topk, features: 40, k: 3}
buffer: {capacity: 64}
training: {steps: 12, batch: 16}
""",
    "run.yaml",
)
PROGRESS = Progress(5, 12, {"loss": 0.5}, 2.0, 40.0)


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_a_tracker_gets_the_config_every_line_and_an_end(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    run = SimpleNamespace(
        log=lambda numbers, step: told.append((step, numbers)), finish=lambda: told.append("end")
    )
    package = SimpleNamespace(init=lambda **options: told.append(options) or run)
    monkeypatch.setitem(sys.modules, kind, package)
    with suppress(KeyboardInterrupt), sink(kind, Path("out/one"), RUN) as report:
        report(PROGRESS)
        raise KeyboardInterrupt
    assert told[0]["name"] == "one" and told[0]["config"]["hook"] == {"layer": 1, "point": "resid_pre"}
    assert ("reinit" in told[0]) is (kind == "wandb")
    assert told[1:] == [(5, {"loss": 0.5, "tokens_per_second": 40.0}), "end"]


def test_tensorboard_writes_beside_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            told.append(folder)

        def add_scalar(self, *line: Any) -> None:
            told.append(line)

        def close(self) -> None:
            told.append("end")

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    with sink("tensorboard", Path("out/one"), RUN) as report:
        report(PROGRESS)
    assert told == ["out/one.tensorboard", ("loss", 0.5, 5), ("tokens_per_second", 40.0, 5), "end"]


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(SourceError, match="pip install wandb"), sink("wandb", Path("out"), RUN):
        pass
