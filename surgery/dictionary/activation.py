"""From W_enc x̂ to feature activations: the non-linear part of each architecture, one function a kind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def activate(
    architecture: str, products: np.ndarray, vectors: Mapping[str, np.ndarray], *, k: int | None
) -> np.ndarray:
    """Codes (n, m) of products z = W_enc x̂ (n, m).

    Args:
        vectors: `b_enc`, and where the dictionary has them `gain`, `b_gate`, `threshold`, each (m,).
        k: of a topk or groupmax dictionary.
    """
    pre = products * vectors["gain"] if "gain" in vectors else products
    pre = pre + vectors["b_enc"]
    codes: np.ndarray = np.maximum(pre, 0.0)
    if architecture == "gated":
        codes *= products + vectors["b_gate"] > 0
    elif architecture == "jumprelu":
        codes *= pre > vectors["threshold"]
    elif architecture == "topk" and k is not None:
        keep_largest(codes, k)
    elif architecture == "groupmax" and k is not None:
        _keep_best_of_groups(codes, k)
    return codes


def keep_largest(codes: np.ndarray, k: int) -> None:
    """Set all but the k largest of each row to zero, in place."""
    if k < codes.shape[1]:
        silent = np.argpartition(codes, -k, axis=1)[:, :-k]
        np.put_along_axis(codes, silent, 0.0, axis=1)


def _keep_best_of_groups(codes: np.ndarray, k: int) -> None:
    groups = codes.reshape(len(codes), k, -1)
    best = groups.argmax(axis=2, keepdims=True)
    kept = np.take_along_axis(groups, best, axis=2)
    groups[:] = 0.0
    np.put_along_axis(groups, best, kept, axis=2)
