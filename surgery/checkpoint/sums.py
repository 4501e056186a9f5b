"""`SHA256SUMS`: one line a file, as sha256sum(1) writes and checks it.

    <64 hex digits>  <path relative to the folder, with forward slashes>

A name that holds a backslash or a line break stands escaped behind a leading backslash, as there. The file is
written last and lists every file under the folder but itself, so `sha256sum --check SHA256SUMS` needs nothing
else. What git and the Hub's client keep for themselves in a copy that they made (`.git`, `.cache`) is passed
over. Names are bytes to the system; those that are no UTF-8 are written as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from surgery.checkpoint.hashes import sha256_file
from surgery.errors import CheckpointError

SUMS_FILE = "SHA256SUMS"
_LINE = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_CLIENTS = (".git", ".cache")
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def write_sums(folder: Path, known: Mapping[str, str | None] | None = None) -> None:
    """Write `SHA256SUMS` of a finished folder.

    Args:
        folder: all of its files stand.
        known: hashes of files that are as they were hashed; every other file is read.
    """
    names = _files(folder)
    sums = {name: (known or {}).get(name) or sha256_file(folder / name) for name in names}
    (folder / SUMS_FILE).write_text(sums_text(sums), encoding="utf-8", errors="surrogateescape", newline="\n")


def sums_text(sums: Mapping[str, str]) -> str:
    """The text of a `SHA256SUMS`: path → SHA-256, by name."""
    return "".join(_line(name, sums[name]) for name in sorted(sums))


def read_sums(folder: Path) -> dict[str, str]:
    """Path → SHA-256, from a folder's `SHA256SUMS`.

    Raises:
        CheckpointError: there is none, a line is not of its format, or one name stands twice.
    """
    path = folder / SUMS_FILE
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    sums: dict[str, str] = {}
    for number, line in enumerate(text.split("\n")[:-1] if text.endswith("\n") else text.split("\n"), 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise CheckpointError(f"{path}:{number}: is not a line of SHA-256 and file name")
        escaped, sha256, name = found.groups()
        name = _unescaped(name) if escaped else name
        if name in sums:
            raise CheckpointError(f"{path}:{number}: lists {name!r} a second time")
        sums[name] = sha256
    return sums


def check_sums(folder: Path, *, workers: int) -> Iterator[str]:
    """What of a folder is not as its `SHA256SUMS` says, one sentence each: changed, missing, not listed.

    Raises:
        CheckpointError: see `read_sums`.
    """
    sums, present = read_sums(folder), _files(folder)
    listed = [name for name in sums if name in set(present)]
    with ThreadPoolExecutor(workers) as pool:
        for name, sha256 in zip(
            listed, pool.map(lambda each: sha256_file(folder / each), listed), strict=True
        ):
            if sha256 != sums[name]:
                yield f"{name}: its bytes are not those that {SUMS_FILE} lists"
    for name in sums.keys() - set(present):
        yield f"{name}: is listed in {SUMS_FILE} and missing"
    for name in present:
        if name not in sums:
            yield f"{name}: is not listed in {SUMS_FILE}"


def _files(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = (path.as_posix() for path in paths if path.parts[0] not in _CLIENTS)
    return sorted(name for name in names if name != SUMS_FILE)


def _line(name: str, sha256: str) -> str:
    escaped = "".join(_ESCAPES.get(each, each) for each in name)
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n"


def _unescaped(name: str) -> str:
    back = {escape: each for each, escape in _ESCAPES.items()}
    return re.sub(r"\\[\\nr]", lambda found: back[found[0]], name)
