"""The Hub of `hub_server` over HTTP: which request is which, faults on the way, JSON out."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.hub.hub_server import Hub

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123456"
_MODEL = r"/api/models/(?P<repo>[^/]+/[^/]+)"
ROUTES = [
    ("whoami", "GET", r"/api/whoami-v2"),
    ("validate", "POST", r"/api/validate-yaml"),
    ("create", "POST", r"/api/repos/create"),
    ("info", "GET", _MODEL),
    ("info", "GET", _MODEL + r"/revision/(?P<rev>[^/]+)"),
    ("settings", "PUT", _MODEL + r"/settings"),
    ("tree", "GET", _MODEL + r"/tree/(?P<rev>[^/]+)"),
    ("preupload", "POST", _MODEL + r"/preupload/(?P<rev>[^/]+)"),
    ("batch", "POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch"),
    ("put", "PUT", r"/storage/(?P<oid>[0-9a-f]{64})"),
    ("commit", "POST", _MODEL + r"/commit/(?P<rev>[^/]+)"),
    ("pulls", "GET", _MODEL + r"/discussions"),
    ("open", "POST", _MODEL + r"/discussions"),
    ("pull", "GET", _MODEL + r"/discussions/(?P<num>\d+)"),
    ("status", "POST", _MODEL + r"/discussions/(?P<num>\d+)/status"),
    ("merge", "POST", _MODEL + r"/discussions/(?P<num>\d+)/merge"),
]
_OPEN_TO_ALL = ("put", "validate")
"""Kinds of requests that carry no token."""


class HubServer(ThreadingHTTPServer):
    """A server on a port of its own that answers for one Hub."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        hub.endpoint = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_GET(self) -> None:
        body = self._chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self._whole()
        with self.server.hub.lock:
            self._respond(body)

    do_POST = do_PUT = do_GET

    def _whole(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _respond(self, body: bytes) -> None:
        hub, path = self.server.hub, urlsplit(self.path).path
        if path == "/api/agent-harnesses":  # the client's own telemetry; it does without
            self._send(404, {})
            return
        found = _route(self.command, path)
        if found is None:
            hub.log.append(f"UNKNOWN {self.command} {self.path}")
            self._send(501, {"error": "this Hub does not know that"})
        elif not hub.silent:
            self._answer(*found, body)

    def _answer(self, kind: str, match: re.Match[str], body: bytes) -> None:
        hub = self.server.hub
        hub.log.append(kind)
        if kind not in _OPEN_TO_ALL and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid credentials in Authorization header"})
            return
        fault = hub.fault_for(kind)
        if fault is None or fault.cut == "skip":
            self._send(*hub.answer(kind, match, body))
            return
        hub.silent = fault.then_silent
        if fault.cut == "after":
            hub.answer(kind, match, body)
        if fault.status:
            self._send(fault.status, {"error": "not now"}, fault.headers)

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        code = value.get("code") if isinstance(value, dict) else None
        for name, text in ({"X-Error-Code": code} if code else headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest's output is no server log."""


def _route(method: str, path: str) -> tuple[str, re.Match[str]] | None:
    """The kind of a request, and what its path names."""
    for kind, wanted, pattern in ROUTES:
        match = re.fullmatch(pattern, path)
        if wanted == method and match is not None:
            return kind, match
    return None


def serve(hub: Hub) -> HubServer:
    """Start answering for `hub`; the caller shuts the server down."""
    server = HubServer(hub)
    threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()
    return server
