"""How good a code is: its cosine, length and FVU, beside what chance gives at the same number of features.

    cosine(v̂, v)        ‖v̂‖ / ‖v‖        FVU = ‖v − v̂‖² / ‖v‖²

and over `DRAWS` draws the cosine that k random features reach by least squares, and the cosine that the same
method reaches on random directions; of the encoded difference, which codes no direction, on random splits of
its prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from surgery.dictionary.coding import CodePath, code_paths, refit_path
from surgery.dictionary.dictionary import Dictionary, unit_rows
from surgery.direction.encoded import DRAWS, ENCODED, FeatureContrast, encoded_difference_path
from surgery.linalg.atoms import SparseCode


@dataclass(frozen=True)
class CurvePoint:
    """Quality at one k; the random columns are (mean, standard deviation) of a cosine over `DRAWS` draws."""

    k: int
    cosine: float
    norm_ratio: float
    fvu: float
    random_features: tuple[float, float]
    random_direction: tuple[float, float]


@dataclass(frozen=True)
class Coding:
    """How codes are found: a method of `reconstruct`, and the contrast that `encoded_difference` needs."""

    method: str
    refit: bool = False
    contrast: FeatureContrast | None = None


def coded_paths(dictionary: Dictionary, vectors: np.ndarray, k: int, coding: Coding) -> list[CodePath]:
    """The codes of vectors (n, d_model) with 1, 2, … k features; the encoded difference has one for all."""
    if coding.method != ENCODED:
        return code_paths(dictionary, vectors, k, method=coding.method, refit=coding.refit)
    assert coding.contrast is not None
    path = encoded_difference_path(dictionary, coding.contrast.difference, k)
    return [refit_path(dictionary, vector, path) if coding.refit else path for vector in vectors]


def coded_path(dictionary: Dictionary, vector: np.ndarray, k: int, coding: Coding) -> CodePath:
    """The codes of one vector (d_model,)."""
    return coded_paths(dictionary, np.asarray(vector, dtype=np.float64)[None], k, coding)[0]


def quality_curve(
    vector: np.ndarray,
    dictionary: Dictionary,
    path: CodePath,
    sizes: Sequence[int],
    coding: Coding,
    *,
    seed: int,
) -> tuple[CurvePoint, ...]:
    """The quality of each size of a path of codes of one vector, (d_model,), in order of size."""
    rng = np.random.default_rng((seed, DRAWS))
    targets, paths = _random_paths(dictionary, sizes[-1], coding, rng)
    points = []
    for size in sizes:
        fitted = [_random_features_cosine(dictionary, vector, size, rng) for _ in range(DRAWS)]
        coded = [
            code_quality(dictionary, target, _of_size(each, size))[0]
            for target, each in zip(targets, paths, strict=True)
        ]
        quality = code_quality(dictionary, vector, _of_size(path, size))
        points.append(CurvePoint(size, *quality, _spread(fitted), _spread(coded)))
    return tuple(points)


def code_quality(dictionary: Dictionary, vector: np.ndarray, code: SparseCode) -> tuple[float, float, float]:
    """(cosine, norm ratio, FVU) of a code of a vector."""
    target = np.asarray(vector, dtype=np.float64)
    rebuilt = code.coefficients @ unit_rows(dictionary, code.features)
    length, rebuilt_length = np.linalg.norm(target), np.linalg.norm(rebuilt)
    fvu = float(np.sum((target - rebuilt) ** 2) / length**2)
    product = float(length * rebuilt_length)
    return float(target @ rebuilt) / product if product > 0 else 0.0, float(rebuilt_length / length), fvu


def _random_paths(
    dictionary: Dictionary, k: int, coding: Coding, rng: np.random.Generator
) -> tuple[np.ndarray, list[CodePath]]:
    """Vectors that mean nothing, and their codes by the same method."""
    if coding.contrast is None or coding.method != ENCODED:
        drawn = rng.standard_normal((DRAWS, dictionary.d_model))
        return drawn, coded_paths(dictionary, drawn, k, coding)
    targets, paths = [], []
    for split in coding.contrast.splits:
        dealt = replace(coding, contrast=replace(coding.contrast, difference=split.difference))
        if split.target.any():
            targets.append(split.target)
            paths += coded_paths(dictionary, split.target[None], k, dealt)
    return np.array(targets), paths


def _of_size(path: CodePath, size: int) -> SparseCode:
    """The code of a size, or the largest there is; one without features where there is none."""
    return path[min(size, len(path)) - 1] if path else SparseCode(np.empty(0, np.int64), np.empty(0))


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
