"""SAELens' folder as tests write it: tensors of an architecture, and its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.dictionary.plain import D_MODEL, N_FEATURES, transposed

Tensors = dict[str, np.ndarray]


def tensors_of(weights: Any, draw: Any, architecture: str) -> Tensors:
    held = {"W_enc": transposed(weights["enc"]), "W_dec": weights["dec"], "b_dec": weights["b_dec"]}
    if architecture == "gated":
        return held | {name: draw(N_FEATURES, scale=0.5) for name in ("b_gate", "b_mag", "r_mag")}
    held["b_enc"] = weights["b_enc"]
    if "jumprelu" in architecture or "batchtopk" in architecture:
        held["threshold"] = np.abs(draw(N_FEATURES))
    if "skip" in architecture:
        held["W_skip"] = draw(D_MODEL, D_MODEL)
    return held


def save(folder: Path, tensors: Tensors, **config: Any) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    cfg = {
        "d_in": D_MODEL,
        "d_sae": N_FEATURES,
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {"hook_name": "blocks.3.hook_resid_post"},
    } | config
    (folder / "cfg.json").write_text(json.dumps(cfg))
    return folder
