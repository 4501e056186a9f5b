"""A small Hub on this machine that keeps what it gets: as much of the HTTP protocol as publishing a model
needs, and faults on demand.

Written from what the client sends; `hub_http` carries it. A fault is a status code, a cut connection before
or after the request has had its effect, or silence from then on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest

from tests.hub.hub_http import TOKEN, serve

ACCOUNT = "tester"
LARGE = 100_000
"""Files of more bytes, and all weights, are kept in the storage for large files."""
Answer = tuple[int, Any]


@dataclass(frozen=True)
class Blob:
    """A file: its bytes, and whether it is kept as a large one."""

    data: bytes
    large: bool

    def entry(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": "file",
            "path": path,
            "size": len(self.data),
            "oid": git_hash(self.data),
        }
        if self.large:
            sha256 = hashlib.sha256(self.data).hexdigest()
            found["lfs"] = {"oid": sha256, "size": len(self.data), "pointerSize": 130}
        return found


@dataclass
class PullRequest:
    """A pull request; its files stand at refs/pr/<num>."""

    num: int
    title: str
    description: str
    author: str = ACCOUNT
    status: str = "draft"


@dataclass
class Repo:
    """A repository: files by revision."""

    private: bool
    gated: bool | str = False
    refs: dict[str, dict[str, Blob]] = field(default_factory=lambda: {"main": {}})
    pulls: list[PullRequest] = field(default_factory=list)
    commits: list[tuple[str, str, list[str]]] = field(default_factory=list)
    """(revision, message, paths) of each."""


@dataclass
class Fault:
    """What goes wrong with the next requests of this kind: `status`, or a cut `before` or `after` it has had
    its effect; `skip` lets one through."""

    kind: str
    status: int = 0
    cut: str = ""
    times: int = 1
    then_silent: bool = False
    headers: dict[str, str] = field(default_factory=dict)


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """The state of the server, and what happened to it."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.cards: list[str] = []
        self.silent = False
        self.waits: list[float] = []
        self.spoil: Callable[[str, bytes], bytes] = lambda _, data: data
        self.lock = threading.Lock()
        self.endpoint = ""

    def fault_for(self, kind: str) -> Fault | None:
        for fault in self.faults:
            if fault.kind == kind and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def answer(self, kind: str, match: re.Match[str], body: bytes) -> Answer:
        handler: Callable[..., Answer] = getattr(self, f"_{kind}")
        repo = self.repos.get(match.groupdict().get("repo") or "")
        if repo is None and "repo" in match.groupdict():
            return 404, {"error": "Repository not found", "code": "RepoNotFound"}
        values = {key: unquote(value) for key, value in match.groupdict().items() if key != "repo"}
        return handler(repo, body=body, **values) if repo is not None else handler(body=body, **values)

    def _whoami(self, *, body: bytes) -> Answer:
        return 200, {"name": ACCOUNT, "type": "user"}

    def _validate(self, *, body: bytes) -> Answer:
        text = json.loads(body)["content"]
        self.cards.append(text)
        if "pipeline_tag: nonsense" in text:
            return 400, {"errors": [{"message": '"pipeline_tag" must be a known task'}], "warnings": []}
        return 200, {"errors": [], "warnings": []}

    def _create(self, *, body: bytes) -> Answer:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.repos:
            return 409, {"error": "You already created this model repo", "url": f"{self.endpoint}/{name}"}
        self.repos[name] = Repo(wanted.get("visibility") == "private" or wanted.get("private") is True)
        self.repos[name].refs["main"][".gitattributes"] = Blob(b"*.safetensors filter=lfs\n", False)
        return 200, {"url": f"{self.endpoint}/{name}"}

    def _info(self, repo: Repo, *, body: bytes, rev: str | None = None) -> Answer:
        name = self._name(repo)
        sha = hashlib.sha1(str(repo.commits).encode()).hexdigest()
        return 200, {"id": name, "sha": sha, "private": repo.private, "gated": repo.gated, "siblings": []}

    def _settings(self, repo: Repo, *, body: bytes) -> Answer:
        repo.gated = json.loads(body)["gated"]
        return 200, {"gated": repo.gated}

    def _tree(self, repo: Repo, *, body: bytes, rev: str) -> Answer:
        if rev not in repo.refs:
            return 404, {"error": f"Invalid rev id: {rev}", "code": "RevisionNotFound"}
        return 200, [blob.entry(path) for path, blob in sorted(repo.refs[rev].items())]

    def _preupload(self, repo: Repo, *, body: bytes, rev: str) -> Answer:
        files = []
        for each in json.loads(body)["files"]:
            large = each["size"] > LARGE or each["path"].endswith(".safetensors")
            found = repo.refs[rev].get(each["path"])
            entry = {} if found is None else found.entry(each["path"])
            oid = (entry.get("lfs") or entry).get("oid")
            mode = "lfs" if large else "regular"
            files.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return 200, {"files": files}

    def _batch(self, repo: Repo, *, body: bytes) -> Answer:
        objects = []
        for each in json.loads(body)["objects"]:
            upload = {"href": f"{self.endpoint}/storage/{each['oid']}"}
            actions = {} if each["oid"] in self.objects else {"actions": {"upload": upload}}
            objects.append({"oid": each["oid"], "size": each["size"], **actions})
        return 200, {"transfer": "basic", "objects": objects}

    def _put(self, *, body: bytes, oid: str) -> Answer:
        self.objects[oid] = self.spoil(oid, body)
        return 200, {}

    def _commit(self, repo: Repo, *, body: bytes, rev: str) -> Answer:
        head, *lines = (json.loads(line) for line in body.splitlines())
        files = dict(repo.refs[rev])
        for line in lines:
            value, path = line["value"], line["value"]["path"]
            if line["key"] == "lfsFile":
                if value["oid"] not in self.objects:
                    return 400, {"error": f"LFS pointer pointed to a file that does not exist: {path}"}
                files[path] = Blob(self.objects[value["oid"]], True)
            elif line["key"] == "file":
                files[path] = Blob(self.spoil(path, base64.b64decode(value["content"])), False)
            else:
                assert line["key"] == "deletedFile"
                del files[path]
        repo.refs[rev] = files
        repo.commits.append((rev, head["value"]["summary"], [line["value"]["path"] for line in lines]))
        oid = hashlib.sha1(str(repo.commits).encode()).hexdigest()
        return 200, {"commitUrl": f"{self.endpoint}/{self._name(repo)}/commit/{oid}", "commitOid": oid}

    def _pulls(self, repo: Repo, *, body: bytes) -> Answer:
        found = [self._described(repo, each) for each in repo.pulls]
        return 200, {"discussions": found, "count": len(found), "start": 0}

    def _open(self, repo: Repo, *, body: bytes) -> Answer:
        wanted = json.loads(body)
        assert wanted["pullRequest"] is True
        pull = PullRequest(len(repo.pulls) + 1, wanted["title"], wanted["description"])
        repo.pulls.append(pull)
        repo.refs[f"refs/pr/{pull.num}"] = dict(repo.refs["main"])
        return 200, self._described(repo, pull)

    def _pull(self, repo: Repo, *, body: bytes, num: str) -> Answer:
        return 200, self._described(repo, repo.pulls[int(num) - 1])

    def _status(self, repo: Repo, *, body: bytes, num: str) -> Answer:
        repo.pulls[int(num) - 1].status = json.loads(body)["status"]
        data = {"status": json.loads(body)["status"]}
        when = "2026-01-01T00:00:00.000Z"
        event = {
            "id": "1",
            "type": "status-change",
            "createdAt": when,
            "author": {"name": ACCOUNT},
            "data": data,
        }
        return 200, {"newStatus": event}

    def _merge(self, repo: Repo, *, body: bytes, num: str) -> Answer:
        pull = repo.pulls[int(num) - 1]
        if pull.status != "open":
            return 400, {"error": f"a {pull.status} pull request cannot be merged"}
        pull.status = "merged"
        repo.refs["main"] = dict(repo.refs[f"refs/pr/{num}"])
        repo.commits.append(("main", "merge", []))
        return 200, {}

    def _name(self, repo: Repo) -> str:
        return next(name for name, each in self.repos.items() if each is repo)

    def _described(self, repo: Repo, pull: PullRequest) -> dict[str, Any]:
        name = self._name(repo)
        return {
            "num": pull.num,
            "title": pull.title,
            "status": pull.status,
            "author": {"name": pull.author},
            "createdAt": "2026-01-01T00:00:00.000Z",
            "isPullRequest": True,
            "repo": {"name": name, "type": "model"},
            "events": [],
            "changes": {"base": "refs/heads/main"},
            "filesWithConflicts": [],
        }


@contextmanager
def running_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub, the client of this process pointed at it, and no waiting between its tries."""
    from huggingface_hub import close_session, constants
    from huggingface_hub.utils import _http

    from surgery.hub import client

    hub = Hub()
    server = serve(hub)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hurried = SimpleNamespace(**{**vars(time), "sleep": hub.waits.append})
    monkeypatch.setattr(_http, "time", hurried)
    monkeypatch.setattr(client, "time", hurried)
    close_session()
    try:
        yield hub
    finally:
        close_session()
        server.shutdown()
        server.server_close()
