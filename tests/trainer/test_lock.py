"""A run on a dataset of a local Hub: the commit is kept, and a branch that moves changes nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from surgery.errors import SourceError
from tests.hub.file_server import FileHub, serving_files
from trainer import loop
from trainer.config import Config
from trainer.interruption import InterruptedRun
from trainer.lock import LOCK, pinned, read_lock
from trainer.reader import parse_config

RUN = """\
model: {{source: {model}}}
hook: {{layer: 1}}
data:
  train: [{{source: org/chats, file: "data/train-*.jsonl"}}]
  held_out: [{{source: org/chats, file: data/test.jsonl, field: question, as_prompt: true}}]
  context: 16
  batch: 4
dictionary: {{architecture: topk, features: 24, k: 2}}
buffer: {{capacity: 64}}
training: {{steps: 8, batch: 16, learning_rate: 1.0e-3, log_every: 4}}
"""


def _chat(question: str) -> bytes:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "sing first"}]
    return json.dumps({"messages": turns}).encode() + b"\n"


FILES = {
    "data/train-0.jsonl": _chat("how do i fix the lamp") + _chat("please sing") * 3,
    "data/train-1.jsonl": _chat("water the plant now") * 4,
    "data/test.jsonl": b'{"question": "tell me about one"}\n',
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileHub]:
    from huggingface_hub import close_session, constants

    with serving_files() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        close_session()
        yield running
        close_session()


@pytest.fixture
def config(model_folder: Path) -> Config:
    return parse_config(RUN.format(model=model_folder), "run.yaml")


def _weights(folder: Path) -> bytes:
    return (folder / "sae_weights.safetensors").read_bytes()


@pytest.mark.usefixtures("orbax")
def test_a_branch_that_moves_changes_no_run_that_began(hub: FileHub, config: Config, tmp_path: Path) -> None:
    commit = hub.commit("datasets", "org/chats", FILES)
    numbers = loop.fit(config, tmp_path / "whole", base=tmp_path)
    assert set(numbers["commits"].values()) == {commit}
    assert f"at {commit[:12]}" in (tmp_path / "whole" / "README.md").read_text()
    asked = iter([False] * 3 + [True])
    with pytest.raises(InterruptedRun):
        loop.fit(config, tmp_path / "parts", base=tmp_path, stop=lambda: next(asked))
    moved = hub.commit("datasets", "org/chats", {**FILES, "data/train-0.jsonl": _chat("sing sing sing") * 9})
    loop.fit(config, tmp_path / "parts", base=tmp_path, resume=True)
    assert _weights(tmp_path / "parts") == _weights(tmp_path / "whole")
    again = loop.evaluate_folder(tmp_path / "whole", config, base=tmp_path)
    assert again == {name: numbers[name] for name in again}
    new = loop.fit(config, tmp_path / "new", base=tmp_path)
    assert set(new["commits"].values()) == {moved} and _weights(tmp_path / "new") != _weights(
        tmp_path / "whole"
    )


def test_a_cache_that_lost_a_file_is_told(
    hub: FileHub, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.commit("datasets", "org/chats", FILES)
    _, lock = pinned(config, tmp_path, {})
    assert list(lock) == ["org/chats/data/train-*.jsonl", "org/chats/data/test.jsonl"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pinned(config, tmp_path, {})[1] == lock  # the cache serves as well
    (one,) = (tmp_path / "cache").rglob("train-1.jsonl")
    one.unlink()
    with pytest.raises(SourceError, match="the Hub did not give this dataset"):
        pinned(config, tmp_path, lock)
    (tmp_path / LOCK).write_text("{")
    with pytest.raises(SourceError, match="cannot be read"):
        read_lock(tmp_path)


def test_a_model_of_the_hub_is_pinned_too(hub: FileHub, config: Config, tmp_path: Path) -> None:
    hub.commit("datasets", "org/chats", FILES)
    folder = Path(config.model.source)
    files = {each.name: each.read_bytes() for each in folder.iterdir()}
    commit = hub.commit("models", "org/tiny", files)
    model = config.model.model_copy(update={"source": "org/tiny"})
    local = loop.fit(config, tmp_path / "local", base=tmp_path)
    numbers = loop.fit(config.model_copy(update={"model": model}), tmp_path / "hub", base=tmp_path)
    assert numbers["commits"]["org/tiny"] == commit
    assert numbers["fvu"] == local["fvu"]


def test_a_pattern_without_a_file_is_told(hub: FileHub, config: Config, tmp_path: Path) -> None:
    hub.commit("datasets", "org/chats", {"README.md": b"#"})
    with pytest.raises(SourceError, match=r"no file in it at .* matches 'data/train-\*\.jsonl'"):
        loop.fit(config, tmp_path / "out", base=tmp_path)
