"""A repository's list of files, by the real client against a local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from surgery.hub.listing import repository_files

_CODE = (
    "from surgery.hub.listing import repository_files as names\nprint(names('org/name'), names('org/other'))"
)


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a list of files needs; it has no file to give."""

    def do_GET(self) -> None:
        there = self.path.startswith("/api/models/org/name/tree/")
        names = ("b/params.npz", "a/params.npz")
        tree = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in names]
        body = json.dumps(tree if there else {}).encode()
        self.send_response(200 if there else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if not there:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest's output is no server log."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _run(code: str, endpoint: str, cache: Path) -> subprocess.CompletedProcess[str]:
    settings = {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache)} | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_files_are_named_without_being_downloaded(endpoint: str, tmp_path: Path) -> None:
    done = _run(_CODE, endpoint, tmp_path)
    assert done.stdout.strip() == "('a/params.npz', 'b/params.npz') ()", done.stderr
    assert not list(tmp_path.rglob("*.npz"))


def test_a_folder_and_what_is_no_id_have_none(tmp_path: Path) -> None:
    assert repository_files(str(tmp_path)) == repository_files("./a/b") == repository_files("name") == ()


def test_a_hub_that_cannot_be_reached_is_one_message(tmp_path: Path) -> None:
    code = (
        "import time; time.sleep = lambda _: None\n"
        "from surgery.dictionary.source import open_dictionary\n"
        "from surgery.errors import SourceError\n"
        "try: open_dictionary('org/name')\n"
        "except SourceError as error: print(error)"
    )
    done = _run(code, "http://127.0.0.1:9", tmp_path)
    assert "org/name: not a folder here, and the Hub did not give it" in done.stdout, done.stderr
