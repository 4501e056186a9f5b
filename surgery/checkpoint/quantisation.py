"""How a quantised checkpoint says what its numbers mean, and which kinds of it can be edited as they are.

In FP8 a matrix on disk holds W/s rounded to eight bits, and a partner tensor holds the scales s: one a
matrix, one a row, or one a block of `weight_block_size` (128×128 in DeepSeek-V3 and Qwen3). The partner's
name ends in `_scale_inv`, `_scale` or `.scale`, it is always multiplied, and it may stand in another shard.
Such a matrix can be projected and stored again in its own format. In every other format the codes depend on
each other or on a table, so a small change is lost or spreads; those are refused with the way out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FP8 = frozenset({"F8_E4M3", "F8_E5M2"})
"""Stored types that stand for themselves times a scale."""

_WAYS_OUT: dict[str, str] = {
    "mxfp4": (
        "give a bfloat16 copy (transformers: from_pretrained with Mxfp4Config(dequantize=True), then"
        " save_pretrained); the 4-bit codes are too coarse to hold the edit"
    ),
    "gptq": "give the unquantised model, edit that and quantise the result again",
    "awq": "give the unquantised model, edit that and quantise the result again",
    "bitsandbytes": "give the unquantised model and load the edited result in 4 or 8 bit instead",
    "compressed-tensors": "give the unquantised model, edit that and compress the result again",
}
_OTHERWISE = "give the unquantised checkpoint, or save a dequantised one first"
_PARTNERS = ("{}_scale_inv", "{}_scale", "{}.scale")
_OF_WEIGHTS = re.compile(r"(.+)\.(?:weight_scale(?:_inv)?|scale|input_scale(?:_ub)?|activation_scale)")
_OF_CACHE = re.compile(r".+\.(?:q|k|v|output)_scale")


@dataclass(frozen=True)
class Scale:
    """The partner of an FP8 matrix: its name, and the height and width of the block that shares one
    number."""

    tensor: str
    block: tuple[int, int]


def refusal(config: Mapping[str, Any]) -> str | None:
    """Why the weights that a config.json describes cannot be edited on disk, and what to do; None where they
    can."""
    settings = _settings(config)
    if settings is None:
        return None
    method = str(settings.get("quant_method", "unknown")) if isinstance(settings, Mapping) else "unknown"
    if method in ("fp8", "fbgemm_fp8") or (method == "compressed-tensors" and _is_float8(settings)):
        return None
    if method == "modelopt" and settings.get("quant_algo") == "FP8":
        return None
    return (
        f"the weights are quantised ({method}), so a matrix on disk is not the one that runs;"
        f" {_WAYS_OUT.get(method, _OTHERWISE)}"
    )


def scale_names(config: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
    """The tensors that only say how others are scaled, none where the checkpoint is not quantised."""
    if _settings(config) is None:
        return frozenset()
    present = frozenset(names)
    return frozenset(name for name in present if _is_beside(name, present))


def find_scale(config: Mapping[str, Any], tensor: str, shapes: Mapping[str, tuple[int, ...]]) -> Scale | None:
    """The partner of an FP8 matrix and its blocks; None where there is none or its shape fits no known form.

    Args:
        config: the content of config.json, which says how large a block is.
        tensor: name of the matrix, [rows, columns].
        shapes: tensor name → shape, over all shards.
    """
    shape = shapes[tensor]
    stems = (tensor, tensor.removesuffix(".weight"))
    name = next((partner for partner in _partners(stems) if partner in shapes), None)
    if name is None or len(shape) != 2:
        return None
    block = _block(shape, shapes[name], _declared_block(config))
    return None if block is None else Scale(name, block)


def _settings(config: Mapping[str, Any]) -> Any:
    for place in (config, config.get("text_config")):
        for key in ("quantization_config", "compression_config"):
            if isinstance(place, Mapping) and place.get(key):
                return place[key]
    return None


def _groups(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    groups = settings.get("config_groups")
    each = groups.values() if isinstance(groups, Mapping) else ()
    return [group["weights"] for group in each if isinstance(group, Mapping) and group.get("weights")]


def _is_float8(settings: Mapping[str, Any]) -> bool:
    weights = _groups(settings)
    return bool(weights) and all(
        each.get("type") == "float" and each.get("num_bits") == 8 for each in weights
    )


def _declared_block(config: Mapping[str, Any]) -> tuple[int, int] | None:
    settings = _settings(config)
    if not isinstance(settings, Mapping):
        return None
    said = [settings.get("weight_block_size"), *(each.get("block_structure") for each in _groups(settings))]
    for each in said:
        if isinstance(each, list | tuple) and len(each) == 2 and all(type(n) is int and n > 0 for n in each):
            return each[0], each[1]
    return None


def _partners(stems: tuple[str, str]) -> list[str]:
    tensor, module = stems
    return [_PARTNERS[0].format(tensor), _PARTNERS[1].format(tensor), _PARTNERS[2].format(module)]


def _block(
    shape: tuple[int, ...], scales: tuple[int, ...], declared: tuple[int, int] | None
) -> tuple[int, int] | None:
    rows, columns = shape
    if all(size == 1 for size in scales):
        return rows, columns
    if declared is not None and scales == (-(-rows // declared[0]), -(-columns // declared[1])):
        return declared
    if declared is None and scales in ((rows,), (rows, 1)):
        return 1, columns
    return None


def _is_beside(name: str, present: frozenset[str]) -> bool:
    found = _OF_WEIGHTS.fullmatch(name)
    return (found is not None and f"{found[1]}.weight" in present) or _OF_CACHE.fullmatch(name) is not None
