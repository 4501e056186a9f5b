"""The door to the Hub: folders, ids, and the real client against a local server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from surgery.errors import SourceError
from surgery.hub import fetch_dataset_file, fetch_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b'{"model_type": "llama"}', "notes.bin": b"not asked for", "LICENSE": b"Apache-2.0"}


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a snapshot needs: the revision's file list, and each file with its headers."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/models/org/name"):
            siblings = [{"rfilename": name} for name in FILES]
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in FILES.items()
            ]
            info = {"id": "org/name", "sha": COMMIT, "siblings": siblings, "private": False}
            self._answer(200, json.dumps(tree if "/tree/" in path else info).encode(), "application/json")
            return
        name = path.rsplit("/", 1)[-1]
        if (f"/resolve/{COMMIT}/" in path or "/resolve/main/" in path) and name in FILES:
            self._answer(200, FILES[name], "application/octet-stream")
            return
        self._answer(404, b"{}", "application/json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest's output is no server log."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a process that talks to the local server and to nothing else."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    server.shutdown()
    server.server_close()
    thread.join()


def _fetch(environment: dict[str, str], source: str) -> subprocess.CompletedProcess[str]:
    code = (
        "from surgery.hub import fetch_model\nfrom surgery.errors import SourceError\nimport json, sys\n"
        f"try: found = fetch_model({source!r})\n"
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
    assert commit == COMMIT
    assert names == ["LICENSE", "config.json"]


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
