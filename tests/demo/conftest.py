"""The shipped model and its sets, read once for all tests of the room."""

from __future__ import annotations

from typing import Any

import pytest

from surgery.demo import examples, model_folder, prompts, quality, sources


@pytest.fixture(scope="session")
def shipped() -> tuple[Any, Any]:
    return quality.load(model_folder("demo:refuser"))


@pytest.fixture(scope="session")
def encoder(shipped: tuple[Any, Any]) -> examples.Encoder:
    return examples.Encoder(shipped[1])


@pytest.fixture(scope="session")
def sets() -> dict[str, list[prompts.Row]]:
    folder = sources.ASSETS / "prompts"
    return {path.stem: prompts.read_rows(path) for path in sorted(folder.glob("*.jsonl"))}
