"""The difference of mean codes, on a model whose prompts are told apart by construction."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from surgery.dictionary.dictionary import Dictionary, encode
from surgery.direction.encoded import encoded_difference_path, feature_contrast
from surgery.errors import DirectionError
from surgery.hook_point import HookPoint
from surgery.model.residuals import residuals

POSITIVE = [[7, 9, 11], [8, 12, 13, 14], [20, 21, 22]]
NEGATIVE = [[30, 31], [33, 34, 35], [40, 41, 42]]


def _dictionary() -> Dictionary:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((50, 32)).astype(np.float32)
    zeros = np.zeros(50, np.float32)
    return Dictionary(
        name="made",
        architecture="standard",
        W_enc=rows,
        b_enc=zeros,
        W_dec=2.0 * rows,
        b_dec=np.zeros(32, np.float32),
        hook_point=HookPoint(1, "resid_pre"),
    )


def test_equals_its_definition(tiny_model: Any) -> None:
    dictionary = _dictionary()
    contrast = feature_contrast(dictionary, tiny_model, POSITIVE, NEGATIVE)
    codes = [encode(dictionary, residuals(tiny_model, side)[:, 1, 0]) for side in (POSITIVE, NEGATIVE)]
    expected = codes[0].mean(axis=0) - codes[1].mean(axis=0)
    np.testing.assert_allclose(contrast.difference, expected, atol=1e-5)
    wins = (codes[0][:, None] > codes[1][None]).mean(axis=(0, 1))
    ties = (codes[0][:, None] == codes[1][None]).mean(axis=(0, 1))
    np.testing.assert_allclose(contrast.auroc, wins + 0.5 * ties, atol=1e-12)
    np.testing.assert_allclose(contrast.fires_positive, (codes[0] > 0).mean(axis=0))


def test_the_path_takes_what_moves_the_output_most(tiny_model: Any) -> None:
    dictionary = _dictionary()
    contrast = feature_contrast(dictionary, tiny_model, POSITIVE, NEGATIVE)
    path = encoded_difference_path(dictionary, contrast.difference, 3)
    moved = np.linalg.norm(contrast.difference[:, None] * dictionary.W_dec, axis=1)
    assert path[-1].features.tolist() == np.argsort(-moved)[:3].tolist()
    np.testing.assert_allclose(np.abs(path[-1].coefficients), np.sort(moved)[::-1][:3], rtol=1e-5)
    assert (np.sign(path[-1].coefficients) == np.sign(contrast.difference[path[-1].features])).all()


def test_random_splits_deal_the_same_prompts(tiny_model: Any) -> None:
    dictionary = _dictionary()
    contrast = feature_contrast(dictionary, tiny_model, POSITIVE, NEGATIVE, seed=3)
    streams = residuals(tiny_model, [*POSITIVE, *NEGATIVE])[:, 1, 0].astype(np.float64)
    codes = encode(dictionary, streams.astype(np.float32)).astype(np.float64)
    sides = [list(each) for each in combinations(range(6), 3)]
    deals = [(_mean_difference(codes, side), _mean_difference(streams, side)) for side in sides]
    assert len(contrast.splits) == 20
    dealt = [
        next(number for number, deal in enumerate(deals) if np.allclose(deal[1], split.target, atol=1e-5))
        for split in contrast.splits
    ]
    for number, split in zip(dealt, contrast.splits, strict=True):
        np.testing.assert_allclose(split.difference, deals[number][0], atol=1e-5)
    assert len(set(dealt)) > 5
    again = feature_contrast(dictionary, tiny_model, POSITIVE, NEGATIVE, seed=3)
    assert [each.target.tolist() for each in again.splits] == [
        each.target.tolist() for each in contrast.splits
    ]


def _mean_difference(rows: np.ndarray, side: list[int]) -> np.ndarray:
    return np.asarray(rows[side].mean(axis=0) - np.delete(rows, side, axis=0).mean(axis=0))


def test_without_a_place_or_prompts_there_is_no_difference(tiny_model: Any) -> None:
    with pytest.raises(DirectionError, match="does not say its hook point"):
        feature_contrast(replace(_dictionary(), hook_point=None), tiny_model, POSITIVE, NEGATIVE)
    with pytest.raises(DirectionError, match="prompts on both sides"):
        feature_contrast(_dictionary(), tiny_model, POSITIVE, [])
