"""Gemma Scope: version 1 (`params.npz`, no configuration) and 2 (`params.safetensors`, `config.json`).

    f = [x W_enc + b_enc > threshold] (x W_enc + b_enc)     output = f W_dec + b_dec [+ x A]

A is `affine_skip_connection`. Nothing is subtracted or normalised. Version 1 says layer and site only in its
repository and folder names: `google/gemma-scope-2b-pt-res`, `layer_20/width_16k/average_l0_71`; so does
version 2 where it has no configuration: `resid_post/layer_9_width_16k_l0_small`.

Layer N is the OUTPUT of block N (`resid_post`); `att` reads the concatenated heads, no place of the stream.
Version 1's transcoders read behind the norm before the MLP, whose gain their authors folded into the MLP
(`mlp_normalized`), version 2's behind the gain (`mlp_in`); both write what the block adds, behind the norm
after the MLP (`mlp_out`). The dictionary of the embedding learnt rows of the table, e; the stream holds √d e.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surgery.dictionary.config import read_config
from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, from_module
from surgery.dictionary.folding import scaled_input
from surgery.dictionary.weights import WeightsFile, open_weights
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint, Site

NPZ, SAFETENSORS, CONFIG = "params.npz", "params.safetensors", "config.json"
_PLACES: dict[str, tuple[Site, Site | None]] = {
    "res": ("resid_post", None),
    "mlp": ("mlp_out", None),
    "transcoders": ("mlp_normalized", "mlp_out"),
}
"""What version 1's repositories end in → what their dictionaries read, and write where that is elsewhere."""
_IN, _OUT, _BLOCK = "hf_hook_point_in", "hf_hook_point_out", "model.layers.{}"
_MODULES: dict[str, dict[str, str]] = {
    "resid_post": {_IN: f"{_BLOCK}.output"},
    "mlp_out": {_IN: f"{_BLOCK}.post_feedforward_layernorm.output"},
    "attn_out": {_IN: f"{_BLOCK}.self_attn.o_proj.input"},
    "transcoder": {
        _IN: f"{_BLOCK}.pre_feedforward_layernorm.output",
        _OUT: f"{_BLOCK}.post_feedforward_layernorm.output",
    },
}
"""Version 2's folders → what their configuration says."""
_MATRICES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")


def read_gemma_scope(folder: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read version 1.

    Raises:
        DictionaryError: a tensor is missing or does not fit.
    """
    place = f"{name}/{folder}"
    layer, site = re.search(r"layer_(\d+)", place), re.search(r"-(res|mlp|transcoders)(?=/|$)", place)
    of_embedding = re.search(r"/embedding/width_\d+k", place) is not None
    reads, writes = _PLACES[site[1]] if site is not None else (None, None)
    found = _read(
        open_weights(folder / NPZ, name),
        HookPoint(0, "resid_pre") if of_embedding else _at(layer, reads),
        _at(layer, writes),
        {"model_name": _model(name), "prepend_bos": True},
    )
    return scaled_input(found, found.d_in**-0.5) if of_embedding else found


def read_gemma_scope_2(folder: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read version 2.

    Raises:
        DictionaryError: a tensor is missing or does not fit, or it is a cross-layer transcoder.
    """
    weights = open_weights(folder / SAFETENSORS, name)
    config = read_config(folder / CONFIG, name) if (folder / CONFIG).is_file() else _inferred(name, folder)
    if config.get("architecture") != "jump_relu":
        raise DictionaryError(
            f"{name}: architecture {config.get('architecture')!r} in {CONFIG}; known: jump_relu"
        )
    reads, writes = str(config.get("hf_hook_point_in", "")), str(config.get("hf_hook_point_out") or "")
    is_transcoder = writes not in ("", reads) or "affine_skip_connection" in weights
    return _read(
        weights,
        from_module(reads),
        from_module(writes) if is_transcoder else None,
        {**config, "prepend_bos": True},
        is_transcoder=is_transcoder,
    )


def _read(
    weights: WeightsFile,
    reads: HookPoint | None,
    writes: HookPoint | None,
    metadata: Mapping[str, Any],
    *,
    is_transcoder: bool = False,
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
            hook_point=reads,
            metadata=metadata,
            threshold=weights.array(tensors["threshold"]),
            W_skip=weights.array(skip).T if skip in weights else None,
            is_transcoder=is_transcoder or writes is not None,
            output_point=writes,
            file=weights.path,
        )
    )


def _spelling(weights: WeightsFile, tensor: str) -> str:
    return (
        tensor
        if tensor in weights
        else next((k for k in weights.shapes if k.lower() == tensor.lower()), tensor)
    )


def _at(layer: re.Match[str] | None, site: Site | None) -> HookPoint | None:
    return None if layer is None or site is None else HookPoint(int(layer[1]), site)


def _inferred(name: str, folder: Path) -> Mapping[str, Any]:
    """What version 2's `config.json` says elsewhere, by the names of folders."""
    place = f"{name}/{folder}"
    layer = re.search(r"layer_(\d+)", place)
    kind = re.search(r"(resid_post|mlp_out|attn_out|transcoder)(?:_all)?/", place)
    model = re.search(r"gemma-scope-2-(\d+m|\d+b)-(pt|it)", place)
    if layer is None or kind is None:
        raise DictionaryError(
            f"{name}: no {CONFIG} there, and no folder's name says what it reads"
            " (resid_post/layer_9_width_16k_l0_small); download the configuration too"
        )
    modules = {key: module.format(layer[1]) for key, module in _MODULES[kind[1]].items()}
    return {
        "architecture": "jump_relu",
        **modules,
        "model_name": f"google/gemma-3-{model[1]}-{model[2]}" if model else None,
    }


def _model(name: str) -> str | None:
    match = re.search(r"gemma-scope-(\d+b)-(pt|it)", name)
    return None if match is None else f"google/gemma-2-{match[1]}" + ("-it" if match[2] == "it" else "")
