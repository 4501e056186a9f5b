"""Checking a finished result again, from its bytes alone: sums, headers and index, and every edit.

What is compared is what stands on the disk now: every file with `SHA256SUMS`, every edited tensor with its
SHA-256 in `surgery/audit.json`, the headers with the index, and, where the base is at hand, each edited
tensor with what `surgery/plan.json` and `surgery/direction.safetensors` say it should be, and every other
byte with the base's. The report of the run is not believed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.checkpoint.hashes import same_file, sha256_range
from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.sums import SUMS_FILE, check_sums, read_sums
from surgery.checkpoint.workers import available_cores
from surgery.edit.audit import Audit, audit, audit_as_json
from surgery.edit.plan import Plan
from surgery.edit.plan_record import read_plan, read_record
from surgery.errors import CheckpointError, EditError, SourceError

RECORD = "surgery"
AUDIT_FILE = "audit.json"
_CARD = "README.md"
NOT_THE_BASES = (_CARD, SUMS_FILE, f"{RECORD}/", ".git/", ".cache/")
"""What a run writes beside the base's files, or in place of them, and what a client keeps beside a copy."""

_SAME, _NOTHING = 0.05, 1e-9
"""How far a leak may be from the recorded one, relatively and at all: another processor sums otherwise."""


@dataclass(frozen=True)
class RecordedBase:
    """Which model a result says it was made from; `commit` is None where the source is a folder."""

    source: str
    commit: str | None


@dataclass(frozen=True)
class Recheck:
    """What was found. `n_files` are listed in SHA256SUMS, `n_tensors` with their own SHA-256 in audit.json;
    `audit` is None where no base was compared.
    """

    folder: Path
    base: Path | None
    n_files: int
    audit: Audit | None
    problems: tuple[str, ...]
    n_tensors: int = 0


def recorded_base(folder: Path) -> RecordedBase:
    """The base that a result's report names.

    Raises:
        SourceError: there is no report, or it names none.
    """
    path = folder / RECORD / "report.json"
    report = read_record(path)
    model = report.get("model") if isinstance(report, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("source"), str):
        raise SourceError(f"{path}: names no base model; give it by --base")
    return RecordedBase(model["source"], model.get("commit") or model.get("revision"))


def is_adapter(folder: Path) -> bool:
    """Whether a result is an adapter, which changes no tensor on disk."""
    return (folder / "adapter_config.json").is_file()


def recheck(
    folder: Path, base: Path | None, *, progress: Callable[[int, int], None] | None = None
) -> Recheck:
    """Check a result.

    Args:
        folder: what `surgery apply` wrote.
        base: the model it was made from; None compares the result with its own record only.
        progress: called with (bytes compared, bytes in all).

    Raises:
        SourceError: the folder holds no record of an edit, or the base cannot be opened.
    """
    if not (folder / RECORD).is_dir():
        raise SourceError(f"{folder}: has no {RECORD}/ record; name the output folder of a `surgery apply`")
    problems, n_files = _sums(folder)
    found: Audit | None = None
    n_tensors = 0
    if not is_adapter(folder):
        original = None if base is None else _open_base(base)
        try:
            edited = open_checkpoint(folder)
            plan = read_plan(folder / RECORD, original or edited)
            found = None if original is None else _audit(folder, plan, original, edited, progress)
            said = _recorded_tensors(folder)
            planned = [edit.tensor for edit in plan.edits]
            problems += _tensor_problems(said, edited, planned, found)
            n_tensors = len(said)
        except (CheckpointError, EditError) as error:
            problems.append(str(error))
    problems += found.problems if found is not None else ()
    return Recheck(folder, base, n_files, found, tuple(problems), n_tensors)


def recheck_as_json(result: Recheck) -> dict[str, Any]:
    """The result as plain data."""
    return {
        "folder": str(result.folder),
        "base": None if result.base is None else str(result.base),
        "n_files": result.n_files,
        "n_tensors": result.n_tensors,
        "problems": list(result.problems),
        "audit": None if result.audit is None else audit_as_json(result.audit),
    }


def _sums(folder: Path) -> tuple[list[str], int]:
    try:
        return list(check_sums(folder, workers=available_cores())), len(read_sums(folder))
    except CheckpointError as error:
        return [str(error)], 0


def _open_base(base: Path) -> Checkpoint:
    try:
        return open_checkpoint(base)
    except CheckpointError as error:
        raise SourceError(f"base {error}") from error


@dataclass(frozen=True)
class _Said:
    """What audit.json says of one tensor."""

    sha256_before: str
    sha256: str
    leak: float | None


def _recorded_tensors(folder: Path) -> Mapping[str, _Said]:
    path = folder / RECORD / AUDIT_FILE
    if not path.is_file():
        raise CheckpointError(f"{path}: is missing, so of no tensor a SHA-256 is recorded")
    try:
        rows = read_record(path)["tensors"]
        return {
            row["tensor"]: _Said(
                row["sha256_before"], row["sha256"], None if row["leak"] is None else float(row["leak"])
            )
            for row in rows
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is not an audit of this version ({error})") from error


def _tensor_problems(
    said: Mapping[str, _Said], edited: Checkpoint, planned: Iterable[str], found: Audit | None
) -> Iterator[str]:
    measured = {} if found is None else {row.tensor: row for row in found.rows}
    places = {name: edited.entry(name) for name in said if name not in measured}
    with ThreadPoolExecutor(available_cores()) as pool:
        hashes = pool.map(
            lambda place: sha256_range(edited.folder / place[0], place[1].start, place[1].end),
            places.values(),
        )
        now = dict(zip(places, hashes, strict=True))
    for name, row in said.items():
        here = measured.get(name)
        if (now[name] if here is None else here.sha256) != row.sha256:
            yield f"{name}: its bytes are not those whose SHA-256 {AUDIT_FILE} lists"
        elif here is not None and not _agree(here.leak, row.leak):
            yield f"{name}: leaks {here.leak:.2g}, where {AUDIT_FILE} says {row.leak}"
        if here is not None and here.sha256_before != row.sha256_before:
            yield f"{name}: the base's bytes are not those whose SHA-256 {AUDIT_FILE} lists"
    for name in planned:
        if name not in said:
            yield f"{name}: is edited by the plan, and {AUDIT_FILE} does not list it"


def _agree(leak: float, said: float | None) -> bool:
    if said is None:
        return not math.isfinite(leak)
    return math.isclose(leak, said, rel_tol=_SAME, abs_tol=_NOTHING)


def _audit(
    folder: Path,
    plan: Plan,
    base: Checkpoint,
    edited: Checkpoint,
    progress: Callable[[int, int], None] | None,
) -> Audit:
    found = audit(plan, base, edited, replaced=NOT_THE_BASES, progress=progress)
    kept = folder / RECORD / f"base_{_CARD}"
    if _CARD in base.side_files and not (kept.is_file() and same_file(base.folder / _CARD, kept)):
        said = f"{RECORD}/{kept.name}: is not the base's {_CARD}"
        return Audit(found.rows, found.max_leak, False, (*found.problems, said))
    return found
