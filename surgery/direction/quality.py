"""How good a code is: its cosine, length and FVU, beside what chance gives at the same number of features.

    cosine(v̂, v)        ‖v̂‖ / ‖v‖        FVU = ‖v − v̂‖² / ‖v‖²

and over `DRAWS` draws the cosine that k random features reach by least squares, and the cosine that the same
method reaches on random directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surgery.dictionary.coding import METHODS, code_paths
from surgery.dictionary.coding import Path as CodePath
from surgery.dictionary.dictionary import Dictionary, unit_rows
from surgery.linalg.atoms import SparseCode

DRAWS = 20
_CHANCE_METHOD = "gradient_pursuit"
"""What random directions are coded with where the method needs prompts, or takes hundreds of passes."""
_QUICK = frozenset(METHODS) - {"fista"}


@dataclass(frozen=True)
class CurvePoint:
    """Quality at one k; the random columns are (mean, standard deviation) of a cosine over `DRAWS` draws."""

    k: int
    cosine: float
    norm_ratio: float
    fvu: float
    random_features: tuple[float, float]
    random_direction: tuple[float, float]


def quality_curve(
    vector: np.ndarray,
    dictionary: Dictionary,
    path: CodePath,
    sizes: Sequence[int],
    *,
    method: str,
    seed: int,
) -> tuple[CurvePoint, ...]:
    """The quality of each size of a path of codes of one vector, (d_model,), in order of size."""
    chance = _chance(vector, dictionary, sizes, method, seed)
    return tuple(
        CurvePoint(
            size,
            *code_quality(dictionary, vector, path[min(size, len(path)) - 1]),
            _spread(chance[size][0]),
            _spread(chance[size][1]),
        )
        for size in sizes
    )


def code_quality(dictionary: Dictionary, vector: np.ndarray, code: SparseCode) -> tuple[float, float, float]:
    """(cosine, norm ratio, FVU) of a code of a vector."""
    target = np.asarray(vector, dtype=np.float64)
    rebuilt = code.coefficients @ unit_rows(dictionary, code.features)
    length, rebuilt_length = np.linalg.norm(target), np.linalg.norm(rebuilt)
    fvu = float(np.sum((target - rebuilt) ** 2) / length**2)
    product = float(length * rebuilt_length)
    return float(target @ rebuilt) / product if product > 0 else 0.0, float(rebuilt_length / length), fvu


def _chance(
    vector: np.ndarray, dictionary: Dictionary, sizes: Sequence[int], method: str, seed: int
) -> dict[int, tuple[list[float], list[float]]]:
    """For each size the cosines of random features, and of the method on random directions."""
    rng = np.random.default_rng((seed, DRAWS))
    drawn = rng.standard_normal((DRAWS, dictionary.d_model))
    method = method if method in _QUICK else _CHANCE_METHOD
    paths = code_paths(dictionary, drawn, sizes[-1], method=method)
    chance = {}
    for size in sizes:
        fitted = [_random_features_cosine(dictionary, vector, size, rng) for _ in range(DRAWS)]
        coded = [
            code_quality(dictionary, each, path[min(size, len(path)) - 1])[0]
            for each, path in zip(drawn, paths, strict=True)
        ]
        chance[size] = (fitted, coded)
    return chance


def _random_features_cosine(
    dictionary: Dictionary, vector: np.ndarray, k: int, rng: np.random.Generator
) -> float:
    chosen = unit_rows(dictionary, rng.choice(dictionary.n_features, size=k, replace=False))
    target = np.asarray(vector, dtype=np.float64)
    fitted = np.linalg.lstsq(chosen.T, target, rcond=None)[0] @ chosen
    length = np.linalg.norm(fitted)
    return float(target @ fitted / (length * np.linalg.norm(target))) if length > 0 else 0.0


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values))
