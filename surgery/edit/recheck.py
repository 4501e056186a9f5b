"""Checking a finished result again, from its bytes alone: sums, headers and index, and every edit.

What is compared is what stands on the disk now: `SHA256SUMS` with every file, the headers with the index,
and, where the base is at hand, each edited tensor with what `surgery/plan.json` and
`surgery/direction.safetensors` say it should be, and every other byte with the base's. The report of the run
is not believed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.checkpoint.hashes import same_file
from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.sums import check_sums, read_sums
from surgery.edit.audit import Audit, audit, audit_as_json
from surgery.edit.executor import available_cores
from surgery.edit.plan_record import read_plan, read_record
from surgery.errors import CheckpointError, SourceError

RECORD = "surgery"
_REPLACED = "README.md"


@dataclass(frozen=True)
class RecordedBase:
    """Which model a result says it was made from; `commit` is None where the source is a folder."""

    source: str
    commit: str | None


@dataclass(frozen=True)
class Recheck:
    """What was found. `n_files` are listed in SHA256SUMS; `audit` is None where no base was compared."""

    folder: Path
    base: Path | None
    n_files: int
    audit: Audit | None
    problems: tuple[str, ...]


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
    if not is_adapter(folder):
        original = None if base is None else _open_base(base)
        try:
            found = _audit(folder, original, progress)
        except CheckpointError as error:
            problems.append(str(error))
    problems += found.problems if found is not None else ()
    return Recheck(folder, base, n_files, found, tuple(problems))


def recheck_as_json(result: Recheck) -> dict[str, Any]:
    """The result as plain data."""
    return {
        "folder": str(result.folder),
        "base": None if result.base is None else str(result.base),
        "n_files": result.n_files,
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


def _audit(
    folder: Path, base: Checkpoint | None, progress: Callable[[int, int], None] | None
) -> Audit | None:
    edited = open_checkpoint(folder)
    plan = read_plan(folder / RECORD, base or edited)
    if base is None:
        return None
    found = audit(plan, base, edited, replaced=(_REPLACED,), progress=progress)
    kept = folder / RECORD / f"base_{_REPLACED}"
    if _REPLACED in base.side_files and not (kept.is_file() and same_file(base.folder / _REPLACED, kept)):
        said = f"{RECORD}/{kept.name}: is not the base's {_REPLACED}"
        return Audit(found.rows, found.max_leak, False, (*found.problems, said))
    return found
