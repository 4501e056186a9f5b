"""Which features tell two sets of prompts apart: the difference of their mean codes.

    Δ_j = mean f_j over positive prompts − mean f_j over negative ones, at one position of its hook point

The features of largest |Δ_j| ‖d_j‖ rebuild the difference of means as the dictionary sees it, Σ Δ_j d_j.
Beside Δ stand the area under the ROC curve of each feature and how often it fires on either side, and what
chance gives: the same prompts dealt at random to two sides of the same sizes, with their difference of means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surgery.dictionary.coding import CodePath, ranked_path
from surgery.dictionary.dictionary import Dictionary, encode
from surgery.errors import DirectionError
from surgery.hook_point import HookPoint
from surgery.linalg.ranking import auroc
from surgery.model.language_model import LanguageModel
from surgery.model.residuals import stream_at

ENCODED = "encoded_difference"
DRAWS = 20
_PROMPTS_AT_ONCE = 64
_COLUMNS_AT_ONCE = 4096


@dataclass(frozen=True)
class Split:
    """One random deal of the prompts: its Δ, (n_features,), and its difference of means, (d_in,)."""

    difference: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class FeatureContrast:
    """Per feature, (n_features,) each: the difference, the area under the ROC curve, both firing rates."""

    difference: np.ndarray
    auroc: np.ndarray
    fires_positive: np.ndarray
    fires_negative: np.ndarray
    splits: tuple[Split, ...]
    """`DRAWS` random deals of the same prompts."""


def point_in(dictionary: Dictionary, model: LanguageModel) -> HookPoint | None:
    """The place of the stream between a model's blocks that a dictionary reads, None where there is none."""
    point = dictionary.hook_point
    if point is None or point.site not in ("resid_pre", "resid_post"):
        return None
    fits = dictionary.d_in == model.d_model and point.layer < model.n_layers
    return point if fits else None


def feature_contrast(
    dictionary: Dictionary,
    model: LanguageModel,
    positive: Sequence[Sequence[int]],
    negative: Sequence[Sequence[int]],
    *,
    position: int = -1,
    seed: int = 0,
) -> FeatureContrast:
    """Compare the codes of two sets of token lists at one position, counted from the end.

    Args:
        seed: of the random deals.

    Raises:
        DirectionError: the dictionary does not say its hook point, or a set is empty.
    """
    if dictionary.hook_point is None:
        raise DirectionError(
            f"dictionary {dictionary.name} does not say its hook point, and prompts are encoded there; say it"
            " as the fact hook_point"
        )
    if not positive or not negative:
        raise DirectionError("the encoded difference needs prompts on both sides")
    activations = _activations(dictionary.hook_point, model, [*positive, *negative], position)
    codes = np.concatenate(
        [
            encode(dictionary, activations[start : start + _PROMPTS_AT_ONCE])
            for start in range(0, len(activations), _PROMPTS_AT_ONCE)
        ]
    )
    first, second = codes[: len(positive)], codes[len(positive) :]
    return FeatureContrast(
        difference=_difference(codes, len(positive), np.arange(len(codes))),
        auroc=_areas(first, second),
        fires_positive=(first > 0).mean(axis=0),
        fires_negative=(second > 0).mean(axis=0),
        splits=_random_splits(codes, activations, len(positive), seed),
    )


def encoded_difference_path(dictionary: Dictionary, difference: np.ndarray, k: int) -> CodePath:
    """The codes of 1, 2, … k features of largest difference; coefficients are for unit-norm rows."""
    gain = 1.0 if dictionary.decoder_gain is None else dictionary.decoder_gain
    coefficients = difference * gain * dictionary.row_norms
    return ranked_path(np.abs(coefficients), coefficients, k)


def _activations(
    point: HookPoint, model: LanguageModel, tokens: Sequence[Sequence[int]], position: int
) -> np.ndarray:
    """One position of each prompt, (n, d); the first where the prompt is shorter."""
    rows = []
    for start in range(0, len(tokens), _PROMPTS_AT_ONCE):
        streams = stream_at(model, tokens[start : start + _PROMPTS_AT_ONCE], point)
        rows += [stream[max(position, -len(stream))] for stream in streams]
    return np.stack(rows)


def _difference(rows: np.ndarray, n_positive: int, order: np.ndarray) -> np.ndarray:
    """Mean of the first `n_positive` rows in an order minus the mean of the others."""
    weights = np.full(len(rows), -1.0 / (len(rows) - n_positive))
    weights[order[:n_positive]] = 1.0 / n_positive
    difference: np.ndarray = np.einsum("n,nm->m", weights, rows)
    return difference


def _random_splits(
    codes: np.ndarray, activations: np.ndarray, n_positive: int, seed: int
) -> tuple[Split, ...]:
    rng = np.random.default_rng((seed, DRAWS))
    orders = [rng.permutation(len(codes)) for _ in range(DRAWS)]
    return tuple(
        Split(_difference(codes, n_positive, order), _difference(activations, n_positive, order))
        for order in orders
    )


def _areas(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """The areas of features that fire anywhere; the others tell nothing apart."""
    areas = np.full(positive.shape[1], 0.5)
    firing = np.flatnonzero(positive.any(axis=0) | negative.any(axis=0))
    for start in range(0, len(firing), _COLUMNS_AT_ONCE):
        columns = firing[start : start + _COLUMNS_AT_ONCE]
        areas[columns] = auroc(positive[:, columns], negative[:, columns])
    return areas
