"""The pieces that the formats' plain forward passes are written from, and how their files are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surgery.dictionary.facts import Facts

D_MODEL, N_FEATURES, K = 6, 12, 3
TRUSTED = Facts(trust_pickle=True)
Forward = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def transposed(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows.T)


def double(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, dtype=np.float64) for name, value in tensors.items()}


def torch_save(path: Path, tensors: dict[str, Any]) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    held = {
        k: torch.from_numpy(np.asarray(v)) if isinstance(v, np.ndarray) else v for k, v in tensors.items()
    }
    torch.save(held, path)


def largest(values: np.ndarray, k: int) -> np.ndarray:
    kept = np.zeros_like(values)
    for row, out in zip(values, kept, strict=True):
        best = np.argsort(-row)[:k]
        out[best] = np.maximum(row[best], 0)
    return kept


def jump(h: np.ndarray, threshold: Any) -> np.ndarray:
    return np.where(h > threshold, np.maximum(h, 0), 0)


def linear(weights: Any) -> dict[str, np.ndarray]:
    return {
        "encoder.weight": weights["enc"],
        "encoder.bias": weights["b_enc"],
        "decoder.weight": transposed(weights["dec"]),
    }
