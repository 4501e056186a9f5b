"""Sources for the edit tests: twins of any type, in one file or in shards, with strange files beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.edit.executor import execute
from surgery.edit.plan import Plan, make_plan
from surgery.model.anatomy import Anatomy, read_anatomy
from surgery.model.twin import build_twin
from surgery.recipe.editing import Ablate

STRANGE = {
    "LICENSE": b"all rights\r\n\0reserved",
    "a b \u00fc.txt": b"",
    "additional_chat_templates/tool use.jinja": b"{{ x }}",
    "modeling_x.py": b"raise SystemExit",
    ".gitattributes": b"*.safetensors filter=lfs",
    "big.dat": bytes(range(256)) * 700,
}
METADATA = {"format": "pt", "tensor_names": '["w"]', "note": "\u00fc"}


def make_source(
    folder: Path,
    config: Mapping[str, Any],
    *,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    seed: int = 0,
) -> Checkpoint:
    """Save a twin as `dtype` in `shards` files, with metadata and strange files, and open it."""
    build_twin(config, folder, seed=seed)
    single = folder / "model.safetensors"
    with safe_open(single, "pt") as file:
        tensors = {name: file.get_tensor(name).to(dtype) for name in file.keys()}  # noqa: SIM118
    single.unlink()
    write_weights(folder, tensors, shards)
    for name, content in STRANGE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return open_checkpoint(folder)


def write_weights(folder: Path, tensors: Mapping[str, torch.Tensor], shards: int = 1) -> None:
    """Write weight files: one, or several with an index."""
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata=METADATA)
        return
    names = sorted(tensors)
    table: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[number::shards]}
        save_file(part, folder / file, metadata=METADATA)
        table |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": table}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def anatomy_of(checkpoint: Checkpoint) -> Anatomy:
    return read_anatomy(checkpoint.config, checkpoint.shapes)


def directions(count: int, d_model: int = 32, seed: int = 0) -> dict[str, np.ndarray]:
    """Random directions named r0, r1, …, of length far from 1."""
    return {
        f"r{i}": row
        for i, row in enumerate(3 * np.random.default_rng(seed).standard_normal((count, d_model)))
    }


def plan_for(checkpoint: Checkpoint, steps: list[Ablate] | None = None, **options: Any) -> Plan:
    """A plan that removes r0 everywhere, or carries out `steps`."""
    steps = [Ablate(ablate="r0")] if steps is None else steps
    return make_plan(checkpoint, anatomy_of(checkpoint), steps, directions(4), **options)


def run(plan: Plan, checkpoint: Checkpoint, target: Path, **options: Any) -> Checkpoint:
    """Carry a plan out and open the result."""
    target.mkdir()
    execute(plan, checkpoint, target, **options)
    return open_checkpoint(target)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
