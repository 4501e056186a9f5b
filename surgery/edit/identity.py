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
        "source": dict(source_sums) if source_sums is not None else _source_signs(checkpoint),
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


def _source_signs(checkpoint: Checkpoint) -> dict[str, str]:
    signs: dict[str, str] = {}
    for name, header in checkpoint.headers.items():
        modified = (checkpoint.folder / name).stat().st_mtime_ns
        signs[name] = f"{header.file_bytes} {modified} {hashlib.sha256(header.raw).hexdigest()}"
    return signs
