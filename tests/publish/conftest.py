"""What the tests of publishing share: a base, a result of it, and a Hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from surgery.checkpoint.layout import Checkpoint
from tests.edit.edit_sources import make_source
from tests.hub.hub_server import Hub, running_hub
from tests.model.family_configs import CONFIGS
from tests.publish.results import make_publishable


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("published") / "base"
    return make_source(folder, CONFIGS["llama"], dtype=torch.bfloat16, shards=2)


@pytest.fixture
def result(base: Checkpoint, tmp_path: Path) -> Path:
    return make_publishable(base, tmp_path / "out")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub(monkeypatch) as running:
        yield running
