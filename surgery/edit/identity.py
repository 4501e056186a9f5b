"""What must be the same for a run that was stopped to be gone on with: what is done, to which files, and what
the bytes of a sum depend on, which are this tool, torch and the instructions that the processor has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from surgery.checkpoint.hashes import sha256_file
from surgery.checkpoint.layout import Checkpoint
from surgery.edit.plan import Plan
from surgery.edit.plan_record import plan_as_json
from surgery.errors import CheckpointError


def work_identity(
    plan: Plan, checkpoint: Checkpoint, source_sums: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What must be the same for an interrupted run to be gone on with, as plain data.

    Args:
        plan: what is done.
        checkpoint: to what.
        source_sums: SHA-256 of its weight files where they are known; else their sizes, times and headers say
            which they are.
    """
    return {
        "plan": hashlib.sha256(json.dumps(plan_as_json(plan), sort_keys=True).encode()).hexdigest(),
        "source": dict(source_sums) if source_sums is not None else _weight_signs(checkpoint),
        "side file": {name: sha256_file(checkpoint.folder / name) for name in checkpoint.side_files},
        "surgery": _own_version(),
        "torch": torch.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def _own_version() -> str | None:
    try:
        return version("surgery")
    except PackageNotFoundError:  # run from a folder of sources
        return None


def _weight_signs(checkpoint: Checkpoint) -> dict[str, str]:
    signs = source_signs(checkpoint)
    return {
        name: f"{signs[name]} {hashlib.sha256(header.raw).hexdigest()}"
        for name, header in checkpoint.headers.items()
    }


def source_signs(checkpoint: Checkpoint) -> dict[str, str]:
    """Size and time of every file of a source, by name: what a file that was written to has another of."""
    names = [*checkpoint.headers, *checkpoint.side_files]
    found = {name: (checkpoint.folder / name).stat() for name in names}
    return {name: f"{each.st_size} {each.st_mtime_ns}" for name, each in found.items()}


def check_unchanged(checkpoint: Checkpoint, signs: Mapping[str, str]) -> None:
    """Refuse a source that was written to since its signs were taken: what was read of it is a mixture.

    Raises:
        CheckpointError: naming the files.
    """
    now = source_signs(checkpoint)
    changed = [name for name, sign in signs.items() if now[name] != sign]
    if changed:
        raise CheckpointError(
            f"{checkpoint.folder}: changed while it was read ({', '.join(changed)}); leave it as it is until"
            " the run has ended, and run again"
        )
