"""SAELens' folder, version 6: `cfg.json` and `sae_weights.safetensors` (W_enc (d, m), b_enc, W_dec (m, d),
b_dec)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surgery.dictionary.dictionary import Architecture, Dictionary, checked
from surgery.errors import DictionaryError
from surgery.hook_point import from_transformer_lens

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
_ARCHITECTURES: dict[str, Architecture] = {"standard": "standard", "topk": "topk"}


def read_saelens(folder: Path, *, name: str | None = None) -> Dictionary:
    """Read a dictionary that SAELens or `surgery-train` saved.

    Raises:
        DictionaryError: a file or a fact is missing, or the architecture is not one that can be read exactly.
    """
    name = name or str(folder)
    config = _read_config(folder, name)
    architecture = _ARCHITECTURES.get(str(config.get("architecture")))
    if architecture is None:
        raise DictionaryError(
            f"{name}: architecture {config.get('architecture')!r} in {CONFIG}; known:"
            f" {', '.join(_ARCHITECTURES)}"
        )
    normalisation = config.get("normalize_activations", "none")
    if normalisation != "none":
        raise DictionaryError(
            f"{name}: normalize_activations is {normalisation!r}; fold it into the weights first (only"
            " 'none' is exact)"
        )
    tensors = _read_tensors(folder / WEIGHTS, name)
    metadata = config.get("metadata") or {}
    return checked(
        Dictionary(
            name=name,
            architecture=architecture,
            W_enc=np.ascontiguousarray(tensors["W_enc"].T),
            b_enc=tensors["b_enc"],
            W_dec=tensors["W_dec"],
            b_dec=tensors["b_dec"],
            k=_active(config, architecture, name),
            subtract_b_dec=bool(config.get("apply_b_dec_to_input", True)),
            hook_point=from_transformer_lens(str(metadata.get("hook_name", ""))),
            sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
            metadata=metadata,
        )
    )


def _read_config(folder: Path, name: str) -> Mapping[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError as error:
        raise DictionaryError(f"{name}: no {CONFIG} there, so this is not a SAELens folder") from error
    except ValueError as error:
        raise DictionaryError(f"{name}: {CONFIG} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise DictionaryError(f"{name}: {CONFIG} is not a JSON object")
    return config


def _read_tensors(path: Path, name: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            missing = {"W_enc", "b_enc", "W_dec", "b_dec"} - names
            if missing:
                raise DictionaryError(f"{name}: {WEIGHTS} lacks {', '.join(sorted(missing))}")
            return {key: file.get_tensor(key).float().numpy() for key in sorted(names)}
    except (OSError, SafetensorError) as error:
        raise DictionaryError(f"{name}: {WEIGHTS} cannot be read: {error}") from error


def _active(config: Mapping[str, Any], architecture: Architecture, name: str) -> int | None:
    if architecture != "topk":
        return None
    k = config.get("k")
    if not isinstance(k, int) or k < 1:
        raise DictionaryError(f"{name}: a topk dictionary, but {CONFIG} does not say k")
    return k
