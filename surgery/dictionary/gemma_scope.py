"""Gemma Scope: version 1 (`params.npz`, no configuration) and 2 (`params.safetensors`, `config.json`).

    f = [x W_enc + b_enc > threshold] (x W_enc + b_enc)     output = f W_dec + b_dec [+ x A]

A is `affine_skip_connection`. Nothing is subtracted or normalised. Version 1 says layer and site only in its
repository and folder names: `google/gemma-scope-2b-pt-res`, `layer_20/width_16k/average_l0_71`.
Layer N is the OUTPUT of block N (`resid_post`); `att` reads the concatenated heads, no place of the stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgery.dictionary.config import read_config
from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, from_module
from surgery.dictionary.weights import WeightsFile, open_weights
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint, Site

NPZ, SAFETENSORS, CONFIG = "params.npz", "params.safetensors", "config.json"
_MATRICES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")


def read_gemma_scope(folder: Path, *, name: str | None = None, facts: Facts = NO_FACTS) -> Dictionary:
    """Read version 1.

    Raises:
        DictionaryError: a tensor is missing or does not fit.
    """
    name = name or str(folder)
    place = f"{name}/{folder}"
    point = _from_names(place)
    return _read(
        open_weights(folder / NPZ, name),
        facts.hook_point or point,
        {"model_name": _model(name), "prepend_bos": True},
        is_transcoder="transcoder" in place,
        output_point=_transcoder_output(place),
        version="gemma_scope",
    )


def read_gemma_scope_2(folder: Path, *, name: str | None = None, facts: Facts = NO_FACTS) -> Dictionary:
    """Read version 2.

    Raises:
        DictionaryError: a tensor is missing or does not fit, or it is a cross-layer transcoder.
    """
    name = name or str(folder)
    config = read_config(folder / CONFIG, name)
    if config.get("architecture") != "jump_relu":
        raise DictionaryError(
            f"{name}: architecture {config.get('architecture')!r} in {CONFIG}; known: jump_relu"
        )
    weights = open_weights(folder / SAFETENSORS, name)
    reads, writes = str(config.get("hf_hook_point_in", "")), str(config.get("hf_hook_point_out", ""))
    metadata = {**config, "prepend_bos": True}
    is_transcoder = bool(reads and writes and reads != writes) or "affine_skip_connection" in weights
    point = from_module(reads) if reads else _from_names(f"{name}/{folder}")
    return _read(
        weights,
        facts.hook_point or point,
        metadata,
        is_transcoder=is_transcoder,
        output_point=from_module(writes) if is_transcoder else None,
        version="gemma_scope_2",
    )


def _read(
    weights: WeightsFile,
    point: HookPoint | None,
    metadata: Mapping[str, Any],
    *,
    is_transcoder: bool,
    output_point: HookPoint | None,
    version: str,
) -> Dictionary:
    tensors = {wanted: _spelling(weights, wanted) for wanted in _MATRICES}
    weights.require(tensors.values())
    skip = "affine_skip_connection"
    return checked(
        Dictionary(
            name=weights.name,
            architecture="jumprelu",
            W_enc=weights.array(tensors["W_enc"]).T,
            b_enc=weights.array(tensors["b_enc"]),
            W_dec=weights.array(tensors["W_dec"]),
            b_dec=weights.array(tensors["b_dec"]),
            k=None,
            subtract_b_dec=False,
            hook_point=point,
            metadata=metadata,
            threshold=weights.array(tensors["threshold"]),
            W_skip=weights.array(skip).T if skip in weights else None,
            is_transcoder=is_transcoder,
            output_point=output_point,
            format=version,
            file=weights.path,
        )
    )


def _spelling(weights: WeightsFile, tensor: str) -> str:
    return (
        tensor
        if tensor in weights
        else next((k for k in weights.shapes if k.lower() == tensor.lower()), tensor)
    )


def _from_names(place: str) -> HookPoint | None:
    layer = re.search(r"layer_(\d+)", place)
    site = re.search(r"-(res|mlp)(?=/|$)|(resid_post|attn_out|mlp_out)(?:_all)?/", place)
    if layer is None or site is None or "transcoder" in place or "embedding" in place:
        return None
    sites: dict[str, Site] = {
        "res": "resid_post",
        "mlp": "mlp_out",
        "resid_post": "resid_post",
        "mlp_out": "mlp_out",
    }
    # Version 2's attn_out, as version 1's att, reads the heads before the output projection.
    found = sites.get(site[1] or site[2])
    return None if found is None else HookPoint(int(layer[1]), found)


def _transcoder_output(place: str) -> HookPoint | None:
    layer = re.search(r"layer_(\d+)", place)
    return HookPoint(int(layer[1]), "mlp_out") if layer and "transcoder" in place else None


def _model(name: str) -> str | None:
    match = re.search(r"gemma-scope-(\d+b)-(pt|it)", name)
    return None if match is None else f"google/gemma-2-{match[1]}" + ("-it" if match[2] == "it" else "")
