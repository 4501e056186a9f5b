"""Loading an FP8 checkpoint in a wider type, for a device that has no arithmetic for it.

Stored codes are multiplied by their scales as the checkpoint is read, and the model is made without its
quantisation. transformers by itself fails at that on a CPU, or takes the codes for the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.quantisation import FP8, find_scale, scale_names
from surgery.checkpoint.scales import read_scales
from surgery.checkpoint.tensor import read_tensor
from surgery.errors import CheckpointError, SourceError

if TYPE_CHECKING:
    import torch

_SETTINGS = ("quantization_config", "compression_config")


def is_fp8(folder: Path) -> bool:
    """Whether a folder holds a checkpoint with FP8 weights; a folder of another kind does not."""
    try:
        checkpoint = open_checkpoint(folder)
    except CheckpointError:
        return False
    return any(entry.dtype in FP8 for entry in checkpoint.tensors.values())


def load_widened(kind: Any, folder: Path, config: Any, *, dtype: str, trust_remote_code: bool) -> Any:
    """A model of `kind`, one of transformers' Auto classes, with the weights that the codes stand for.

    Raises:
        SourceError: codes without scales of a known form, or names that transformers does not look for.
    """
    import torch
    from transformers import GenerationConfig

    for part in (config, config.get_text_config()):
        for key in _SETTINGS:
            if hasattr(part, key):
                delattr(part, key)
    with torch.device("meta"):
        made = type(kind.from_config(config, trust_remote_code=trust_remote_code))
    weights = widened_tensors(open_checkpoint(folder))
    network, told = made.from_pretrained(
        None, config=config, state_dict=weights, dtype=dtype, output_loading_info=True
    )
    if told["missing_keys"] or told["unexpected_keys"]:
        names = sorted({*told["missing_keys"], *told["unexpected_keys"]})
        raise SourceError(f"{folder}: transformers cannot place these of its FP8 weights: {names[:6]}")
    if (folder / "generation_config.json").is_file():
        network.generation_config = GenerationConfig.from_pretrained(folder)
    return network


def widened_tensors(checkpoint: Checkpoint) -> Mapping[str, torch.Tensor]:
    """Every tensor of the model by its name on disk; those of FP8 as float32, scales multiplied in.

    Raises:
        SourceError: an FP8 tensor has no scales of a known form beside it.
    """
    shapes = checkpoint.shapes
    beside = scale_names(checkpoint.config, shapes)
    return {name: _widened(checkpoint, name, shapes) for name in shapes if name not in beside}


def _widened(checkpoint: Checkpoint, name: str, shapes: Mapping[str, tuple[int, ...]]) -> torch.Tensor:
    if checkpoint.tensors[name].dtype not in FP8:
        return read_tensor(checkpoint, name, None)
    scale = find_scale(checkpoint.config, name, shapes)
    if scale is None:
        raise SourceError(
            f"{checkpoint.folder}: {name} is stored as {checkpoint.tensors[name].dtype}, and no scales of a"
            " known form stand beside it; give an unquantised copy of this model"
        )
    codes = read_tensor(checkpoint, name)
    scales = read_scales(scale, checkpoint)
    return codes.mul_(scales.part(slice(0, codes.shape[0]), slice(0, codes.shape[1])))
