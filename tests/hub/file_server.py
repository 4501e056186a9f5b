"""A Hub on this machine to fetch from: repositories with a history, as much of HTTP as a snapshot needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Files = dict[str, bytes]
_INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?")
_FILE = re.compile(r"/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class FileHub:
    """Repositories by kind and name; the last commit of each is `main`."""

    def __init__(self) -> None:
        self.history: dict[tuple[str, str], dict[str, Files]] = {}
        self.endpoint = ""

    def commit(self, kind: str, name: str, files: Files) -> str:
        """Make `files` all that `main` holds; the commit's name."""
        number = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.history.setdefault((kind, name), {})[number] = files
        return number

    def find(self, kind: str, name: str, revision: str | None) -> tuple[str, Files] | None:
        commits = self.history.get((kind, name), {})
        number = list(commits)[-1] if commits and revision in (None, "main") else str(revision)
        return (number, commits[number]) if number in commits else None


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if info := _INFO.fullmatch(path):
            kind, name, verb, revision = info.groups()
            found = self.server.hub.find(kind, name, revision)
            if found is not None:
                self._answer(200, found[0], json.dumps(_told(name, verb, *found)).encode())
                return
        elif file := _FILE.fullmatch(path):
            kind, name, revision, place = file.groups()
            found = self.server.hub.find(kind or "models", name, revision)
            if found is not None and place in found[1]:
                self._answer(200, found[0], found[1][place])
                return
        self._answer(404, "", b"{}")

    def _answer(self, status: int, commit: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest's output is no server log."""


class _Server(ThreadingHTTPServer):
    hub: FileHub


def _told(name: str, verb: str | None, commit: str, files: Files) -> Any:
    if verb == "tree":
        return [
            {"type": "file", "path": path, "size": len(data), "oid": "0" * 40} for path, data in files.items()
        ]
    siblings = [{"rfilename": path} for path in files]
    return {"id": name, "sha": commit, "siblings": siblings, "private": False}


@contextmanager
def serving_files() -> Iterator[FileHub]:
    """A running one."""
    hub, server = FileHub(), _Server(("127.0.0.1", 0), _Handler)
    server.hub, hub.endpoint = hub, f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
