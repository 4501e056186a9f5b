"""Which features tell two sets of prompts apart: the difference of their mean codes.

    Δ_j = mean f_j over positive prompts − mean f_j over negative ones, at one position of its hook point

The features of largest |Δ_j| ‖d_j‖ rebuild the difference of means as the dictionary sees it, Σ Δ_j d_j.
Beside Δ stand the area under the ROC curve of each feature and how often it fires on either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surgery.dictionary.coding import Path, ranked_path
from surgery.dictionary.dictionary import Dictionary, encode
from surgery.errors import DirectionError
from surgery.linalg.ranking import auroc
from surgery.model.language_model import LanguageModel
from surgery.model.residuals import stream_at

_PROMPTS_AT_ONCE = 64
_COLUMNS_AT_ONCE = 4096


@dataclass(frozen=True)
class FeatureContrast:
    """Per feature, (n_features,) each: the difference, the area under the ROC curve, both firing rates."""

    difference: np.ndarray
    auroc: np.ndarray
    fires_positive: np.ndarray
    fires_negative: np.ndarray


def feature_contrast(
    dictionary: Dictionary,
    model: LanguageModel,
    positive: Sequence[Sequence[int]],
    negative: Sequence[Sequence[int]],
    *,
    position: int = -1,
) -> FeatureContrast:
    """Compare the codes of two sets of token lists at one position, counted from the end.

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
    codes_positive = _codes(dictionary, model, positive, position)
    codes_negative = _codes(dictionary, model, negative, position)
    means = [codes.mean(axis=0, dtype=np.float64) for codes in (codes_positive, codes_negative)]
    return FeatureContrast(
        difference=means[0] - means[1],
        auroc=_areas(codes_positive, codes_negative),
        fires_positive=(codes_positive > 0).mean(axis=0),
        fires_negative=(codes_negative > 0).mean(axis=0),
    )


def encoded_difference_path(dictionary: Dictionary, contrast: FeatureContrast, k: int) -> Path:
    """The codes of 1, 2, … k features of largest difference; coefficients are for unit-norm rows."""
    gain = 1.0 if dictionary.decoder_gain is None else dictionary.decoder_gain
    coefficients = contrast.difference * gain * dictionary.row_norms
    return ranked_path(np.abs(coefficients), coefficients, k)


def _codes(
    dictionary: Dictionary, model: LanguageModel, tokens: Sequence[Sequence[int]], position: int
) -> np.ndarray:
    assert dictionary.hook_point is not None
    rows = []
    for start in range(0, len(tokens), _PROMPTS_AT_ONCE):
        streams = stream_at(model, tokens[start : start + _PROMPTS_AT_ONCE], dictionary.hook_point)
        at_position = np.stack([stream[max(position, -len(stream))] for stream in streams])
        rows.append(encode(dictionary, at_position))
    return np.concatenate(rows)


def _areas(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """The areas of features that fire anywhere; the others tell nothing apart."""
    areas = np.full(positive.shape[1], 0.5)
    firing = np.flatnonzero(positive.any(axis=0) | negative.any(axis=0))
    for start in range(0, len(firing), _COLUMNS_AT_ONCE):
        columns = firing[start : start + _COLUMNS_AT_ONCE]
        areas[columns] = auroc(positive[:, columns], negative[:, columns])
    return areas
