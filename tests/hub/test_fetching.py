"""The door to the Hub: folders, ids, and the real client against a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from surgery.errors import SourceError
from surgery.hub import fetch_dataset_file, fetch_model
from tests.hub.file_server import serving_files

FILES = {"config.json": b'{"model_type": "llama"}', "notes.bin": b"not asked for", "LICENSE": b"Apache-2.0"}
TEXTS = {
    "data/train-0.jsonl": b"{}",
    "data/train-1.jsonl": b"{}",
    "data/test-0.jsonl": b"{}",
    "README.md": b"#",
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a process that talks to the local server and to nothing else."""
    with serving_files() as running:
        yield os.environ | {
            "HF_ENDPOINT": running.endpoint,
            "HF_HOME": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "MODEL_COMMIT": running.commit("models", "org/name", FILES),
            "TEXTS_COMMIT": running.commit("datasets", "org/texts", TEXTS),
        }


def _fetch(
    environment: dict[str, str], source: str, call: str = "fetch_model"
) -> subprocess.CompletedProcess[str]:
    code = (
        "import json, sys\nfrom surgery.errors import SourceError\n"
        "from surgery.hub import fetch_dataset, fetch_model\n"
        "def fetch_texts(source):\n"
        "    snapshot, files = fetch_dataset(source, 'data/train-*.jsonl')\n"
        "    assert files == sorted((snapshot.folder / 'data').iterdir()), files\n"
        "    return snapshot\n"
        f"try: found = {call}({source!r})\n"
        "except SourceError as error: sys.exit('REFUSED ' + str(error))\n"
        "print(json.dumps([found.commit, sorted(path.name for path in found.folder.iterdir())]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_hub_id_becomes_a_folder_at_a_commit(hub: dict[str, str]) -> None:
    done = _fetch(hub, "org/name")
    assert done.returncode == 0, done.stderr
    commit, names = json.loads(done.stdout.splitlines()[-1])
    assert commit == hub["MODEL_COMMIT"]
    assert names == ["LICENSE", "config.json"]


def test_the_files_of_a_dataset_that_match_are_fetched(hub: dict[str, str]) -> None:
    done = _fetch(hub, "org/texts", "fetch_texts")
    assert done.returncode == 0, done.stderr
    commit, names = json.loads(done.stdout.splitlines()[-1])
    assert commit == hub["TEXTS_COMMIT"] and names == ["data"]
    offline = _fetch({**hub, "HF_HUB_OFFLINE": "1"}, "org/texts", "fetch_texts")
    assert offline.stdout == done.stdout
    missing = _fetch({**hub, "HF_HUB_OFFLINE": "1"}, "org/others", "fetch_texts")
    assert missing.returncode == 1
    assert "REFUSED org/others: the Hub did not give this dataset" in missing.stderr
    assert "HF_HUB_OFFLINE" in missing.stderr and "name their path" in missing.stderr


def test_a_repository_that_is_not_there_says_so(hub: dict[str, str]) -> None:
    done = _fetch(hub, "org/other")
    assert done.returncode == 1
    assert "REFUSED org/other: not a folder here, and the Hub did not give it" in done.stderr


def test_a_folder_stands_as_it_is(tmp_path: Path) -> None:
    found = fetch_model(str(tmp_path))
    assert found.folder == tmp_path.resolve()
    assert found.commit is None


@pytest.mark.parametrize("source", ["./nowhere", "/no/such/folder", "~/nothing", "name", "a/b/c"])
def test_what_is_neither_folder_nor_id_is_refused_without_asking(source: str) -> None:
    with pytest.raises(SourceError, match="no such folder, and not a Hub id"):
        fetch_model(source)
    with pytest.raises(SourceError, match="no such folder, and not a Hub id"):
        fetch_dataset_file(source, "x.jsonl")


def test_offline_is_an_error_with_a_cure() -> None:
    with pytest.raises(SourceError, match="check the name, the network"):
        fetch_model("org/name")
    with pytest.raises(SourceError, match=r"org/name/x\.jsonl"):
        fetch_dataset_file("org/name", "x.jsonl")
