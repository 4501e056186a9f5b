"""A LoRA adapter against its base: B is the base with the adapter merged, worked out tile by tile.

    W' = W + s · B A,  s = alpha / r  (alpha / √r with rslora);  in an embedding  E' = E + s · (B A)ᵀ
    b' = s · b,  what `lora_bias` adds where the base has no bias

Nothing is merged on disk. What no factors express (DoRA, saved modules, a bias) is refused or listed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.header import Header, TensorEntry, parse_json, read_header
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.pair import Shifted, Slot, read_slot, slot_of
from surgery.compare.pairing import Pair, Pairing
from surgery.errors import CheckpointError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The two files of a PEFT adapter."""
PREFIX = "base_model.model."
_BIAS = ".lora_B.bias"
_FACTORS = {
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "A",
    ".lora_embedding_B": "B",
}


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter and no checkpoint."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def pair_adapter(base: Checkpoint, folder: Path) -> tuple[Checkpoint, Pairing]:
    """The base with an adapter merged, as a checkpoint that is only paired, never read whole.

    Raises:
        CheckpointError: the adapter cannot be read, is no plain LoRA, or does not fit this base.
    """
    config = _config(folder)
    header = read_header(folder / WEIGHTS)
    factors, left = _sorted(header)
    shifted = {
        f"{module}.weight": _shifted(base, folder, module, sides, config) for module, sides in factors.items()
    }
    pairs = []
    for name in base.tensors:
        slot = slot_of(base, name)
        pairs.append(Pair(name, slot, shifted.get(name, slot)))
    merged = Checkpoint(folder, MappingProxyType({}), base.config, ())
    return merged, Pairing(tuple(pairs), added=tuple(left), removed=())


def base_name(entry: TensorEntry) -> str:
    """The name that the base would give a tensor of an adapter: `down_proj.bias` for `….lora_B.bias`."""
    return entry.name.removeprefix(PREFIX).replace(_BIAS, ".bias")


def read_bias(folder: Path, entry: TensorEntry) -> npt.NDArray[np.float32]:
    """The vector that an adapter adds beside its factors: s · b.

    Raises:
        CheckpointError: the adapter's configuration cannot be read.
    """
    config = _config(folder)
    module = entry.name.removeprefix(PREFIX).removesuffix(_BIAS)
    b = read_slot(Slot(folder / WEIGHTS, entry)).astype(np.float32)
    return _scale(config, module, int(config.get("r", 1))) * b


def _config(folder: Path) -> Mapping[str, Any]:
    found = parse_json((folder / CONFIG).read_bytes(), str(folder / CONFIG))
    if not isinstance(found, dict) or found.get("peft_type") != "LORA" or found.get("use_dora"):
        raise CheckpointError(f"{folder}: is no plain LoRA adapter; merge it into its base and compare that")
    return found


def _sorted(header: Header) -> tuple[dict[str, dict[str, TensorEntry]], list[TensorEntry]]:
    """Factors by module, and what is no factor."""
    factors: dict[str, dict[str, TensorEntry]] = {}
    left = []
    for name, entry in header.tensors.items():
        suffix = next((each for each in _FACTORS if name.endswith(each)), None)
        if suffix is None:
            left.append(entry)
            continue
        module = name.removeprefix(PREFIX).removesuffix(suffix)
        factors.setdefault(module, {})[_FACTORS[suffix]] = entry
    return factors, left


def _shifted(
    base: Checkpoint,
    folder: Path,
    module: str,
    sides: Mapping[str, TensorEntry],
    config: Mapping[str, Any],
) -> Shifted:
    slot = slot_of(base, f"{module}.weight")
    if set(sides) != {"A", "B"}:
        raise CheckpointError(f"{folder / WEIGHTS}: {module} has only one of its two factors")
    A, B = (read_slot(Slot(folder / WEIGHTS, sides[side])).astype(np.float32) for side in "AB")
    scale = _scale(config, module, len(A))
    embedding = "embedding" in sides["A"].name
    left, right = (A.T, scale * B.T) if embedding else (scale * B, A)
    if slot.entry.shape != (left.shape[0], right.shape[1]):
        raise CheckpointError(
            f"{folder / WEIGHTS}: {module} is made for a tensor of {left.shape[0]} × {right.shape[1]},"
            f" the base has {list(slot.entry.shape)}; it belongs to another model"
        )
    return Shifted(slot.path, replace(slot.entry, dtype="F32"), slot.entry.dtype, left, right)


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = (config.get("alpha_pattern") or {}).get(module, config.get("lora_alpha", rank))
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)
