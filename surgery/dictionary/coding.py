"""Vectors as a few features of a dictionary, by any of the methods, on unit-norm decoder rows.

    gradient_pursuit   one gradient step on the support each time; the seed's "inference-time optimisation"
    omp                least squares on the support each time
    nonnegative_omp    the same with weights above 0
    fista              an L1 penalty, tuned until exactly k features are left (shrunk coefficients)
    decoder_cosine     the k rows of largest |cosine|, each with its own product: the naive baseline

Each gives, for every vector, the codes of 1, 2, … k distinct features. `refit` replaces the coefficients of
any of them by the least-squares fit on the same features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from surgery.dictionary.dictionary import Dictionary, atoms_of
from surgery.errors import DictionaryError
from surgery.linalg.atoms import Atoms, SparseCode, all_products
from surgery.linalg.lasso import lasso_path, refit_code
from surgery.linalg.matching import nonnegative_matching_pursuits, orthogonal_matching_pursuits
from surgery.linalg.pursuit import gradient_pursuits

CodePath = list[SparseCode]
"""The codes of one vector with 1, 2, … features; shorter where fewer rebuild it exactly."""


def code_paths(
    dictionary: Dictionary, vectors: np.ndarray, k: int, *, method: str, refit: bool = False
) -> list[CodePath]:
    """Code vectors (n, d_model) together with up to k features each.

    Raises:
        DictionaryError: no method has that name.
    """
    if method not in METHODS:
        raise DictionaryError(f"no method is called {method!r}; known: {', '.join(METHODS)}")
    paths = METHODS[method](atoms_of(dictionary), vectors, k)
    if not refit:
        return paths
    return [refit_path(dictionary, vector, path) for vector, path in zip(vectors, paths, strict=True)]


def refit_path(dictionary: Dictionary, vector: np.ndarray, path: CodePath) -> CodePath:
    """The same features with the coefficients that fit a vector (d_model,) best."""
    return [refit_code(atoms_of(dictionary), vector, code) for code in path]


def ranked_path(scores: np.ndarray, coefficients: np.ndarray, k: int) -> CodePath:
    """Codes of the 1, 2, … k features of largest score, (m,), with given coefficients, (m,)."""
    best = np.argsort(-scores, kind="stable")[:k]
    best = best[scores[best] > 0]
    return [
        SparseCode(best[:size].astype(np.int64), coefficients[best[:size]].astype(np.float64))
        for size in range(1, len(best) + 1)
    ]


def _cosine_paths(atoms: Atoms, vectors: np.ndarray, k: int) -> list[CodePath]:
    return [ranked_path(np.abs(row), row, k) for row in all_products(atoms, vectors)]


def _fista_paths(atoms: Atoms, vectors: np.ndarray, k: int) -> list[CodePath]:
    return [lasso_path(atoms, vector, k) for vector in vectors]


METHODS: dict[str, Callable[[Atoms, np.ndarray, int], list[CodePath]]] = {
    "gradient_pursuit": gradient_pursuits,
    "omp": orthogonal_matching_pursuits,
    "nonnegative_omp": nonnegative_matching_pursuits,
    "fista": _fista_paths,
    "decoder_cosine": _cosine_paths,
}
"""Method → what codes several vectors with it."""
