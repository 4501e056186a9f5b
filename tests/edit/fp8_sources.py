"""FP8 sources for the edit tests: a twin whose matrices are stored as eight-bit codes with scales beside
them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.quantisation import find_scale
from surgery.checkpoint.scales import read_scales
from surgery.checkpoint.tensor import read_tensor
from tests.edit.edit_sources import make_source, write_weights
from tests.model.family_configs import CONFIGS

BLOCK = 16
FP8_CONFIG = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [BLOCK, BLOCK]}
KINDS: dict[str, dict[str, Any]] = {
    "blocks": FP8_CONFIG,
    "blocks that fit": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [8, 8]},
    "blocks that do not fit": {"quant_method": "fp8", "weight_block_size": [24, 28]},
    "powers of two": FP8_CONFIG | {"scale_fmt": "ue8m0"},
    "bfloat16 scales": FP8_CONFIG,
    "tensors": {"quant_method": "fp8", "activation_scheme": "static"},
    "rows": {"quant_method": "fbgemm_fp8"},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8, "strategy": "tensor"}}},
    },
}
"""What a checkpoint may look like → its quantization_config."""


def make_fp8_source(
    folder: Path, kind: str = "blocks", *, shards: int = 3, dtype: torch.dtype = torch.float8_e4m3fn
) -> Checkpoint:
    """A Llama twin with FP8 matrices; the embedding and the norms stay bfloat16. Names are dealt over the
    shards in turn, so that most scales stand in another one than their matrix.
    """
    source = make_source(folder, CONFIGS["llama"], dtype=torch.bfloat16)
    tensors: dict[str, torch.Tensor] = {}
    for name in source.tensors:
        weight = read_tensor(source, name)
        if name.endswith("_proj.weight"):
            tensors |= _quantised(name, weight, kind, dtype)
        else:
            tensors[name] = weight.bfloat16()
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
    write_weights(folder, tensors, shards)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": KINDS[kind]}))
    return open_checkpoint(folder)


def _quantised(name: str, weight: torch.Tensor, kind: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    most = torch.finfo(dtype).max
    rows, columns = weight.shape
    height, width = {
        "tensors": (rows, columns),
        "rows": (1, columns),
        "compressed-tensors": (rows, columns),
    }.get(kind, tuple(KINDS[kind].get("weight_block_size", (0, 0))))
    down, across = -(-rows // height), -(-columns // width)
    padded = torch.zeros(down * height, across * width)
    padded[:rows, :columns] = weight
    grid = padded.view(down, height, across, width).abs().amax((1, 3)).clamp(min=1e-6) / most
    if kind == "powers of two":
        grid = torch.exp2(torch.ceil(torch.log2(grid)))
    if kind == "bfloat16 scales":
        grid = (grid * 1.01).bfloat16().float()
    full = grid.repeat_interleave(height, 0)[:rows].repeat_interleave(width, 1)[:, :columns]
    codes = (weight / full).clamp(-most, most).to(dtype)
    module = name.removesuffix(".weight")
    if kind == "powers of two":
        return {name: codes, f"{module}.scale": (torch.log2(grid) + 127).to(torch.uint8)}
    if kind in ("tensors", "compressed-tensors"):
        extra = {f"{module}.input_scale": torch.ones(1)}
        return {name: codes, f"{name}_scale": grid.reshape(()), **extra}
    if kind == "rows":
        return {name: codes, f"{name}_scale": grid}
    return {name: codes, f"{name}_scale_inv": grid.bfloat16() if kind == "bfloat16 scales" else grid}


def dequantised(checkpoint: Checkpoint) -> Mapping[str, torch.Tensor]:
    """Every tensor as the model would use it, scales applied and left out; a second implementation."""
    tensors: dict[str, torch.Tensor] = {}
    for name, entry in checkpoint.tensors.items():
        if "scale" in name:
            continue
        value = read_tensor(checkpoint, name)
        if entry.dtype.startswith("F8"):
            scale = find_scale(checkpoint.config, name, checkpoint.shapes)
            assert scale is not None
            grid, (height, width) = read_scales(scale, checkpoint).grid, scale.block
            for row in range(value.shape[0]):
                for column in range(value.shape[1]):
                    value[row, column] *= grid[row // height, column // width]
        tensors[name] = value
    return tensors
