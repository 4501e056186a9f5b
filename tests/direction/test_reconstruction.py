"""A rebuilt direction keeps its signs, says how good it is, and stands beside chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from surgery.dictionary.dictionary import Dictionary
from surgery.direction.direction import unit_direction
from surgery.direction.reconstruction import reconstruct, with_examples
from surgery.errors import DirectionError
from surgery.hook_point import HookPoint

D_MODEL, N_FEATURES = 32, 200


def _dictionary(d_model: int = D_MODEL) -> Dictionary:
    rng = np.random.default_rng(0)
    W_dec = rng.standard_normal((N_FEATURES, d_model)).astype(np.float32)
    return Dictionary(
        name="made",
        architecture="standard",
        W_enc=W_dec / 10,
        b_enc=np.zeros(N_FEATURES, np.float32),
        W_dec=W_dec,
        b_dec=np.zeros(d_model, np.float32),
        k=None,
        subtract_b_dec=True,
        hook_point=HookPoint(1, "resid_pre"),
        sha256="",
    )


def _planted() -> tuple[Dictionary, np.ndarray]:
    dictionary = _dictionary()
    atoms = dictionary.W_dec / np.linalg.norm(dictionary.W_dec, axis=1, keepdims=True)
    return dictionary, 2.0 * atoms[7] - 1.5 * atoms[90]


def test_two_planted_features_come_back_with_their_signs() -> None:
    dictionary, vector = _planted()
    direction = unit_direction(vector, HookPoint(1, "resid_pre"))
    rebuilt, facts = reconstruct(direction, dictionary, 2, method="gradient_pursuit", seed=0)
    coefficients = {feature.number: feature.coefficient * direction.norm for feature in facts.features}
    assert coefficients.keys() == {7, 90}
    assert coefficients[7] > 1.0 and coefficients[90] < -0.8
    assert facts.point.cosine == pytest.approx(float(rebuilt.vector @ direction.vector), abs=1e-5)
    assert facts.point.cosine > 0.99
    assert facts.point.fvu == pytest.approx(1 - facts.point.cosine**2, abs=0.05)
    assert rebuilt.norm == pytest.approx(direction.norm * facts.point.norm_ratio, rel=1e-5)
    assert facts.note is None


def test_the_curve_stands_above_chance() -> None:
    dictionary, vector = _planted()
    noisy = vector + 0.3 * np.random.default_rng(1).standard_normal(D_MODEL)
    _, facts = reconstruct(unit_direction(noisy), dictionary, 3, method="gradient_pursuit", seed=0)
    assert [point.k for point in facts.curve] == list(range(1, 9))
    assert all(
        later.fvu <= earlier.fvu + 1e-9 for earlier, later in zip(facts.curve, facts.curve[1:], strict=False)
    )
    at_two = facts.curve[1]
    assert at_two.cosine > at_two.random_features[0] + 3 * at_two.random_features[1]
    assert at_two.cosine > at_two.random_direction[0]
    assert facts.k == 3 and facts.note is not None


def test_a_direction_from_elsewhere_is_noted_or_refused() -> None:
    dictionary, vector = _planted()
    _, facts = reconstruct(
        unit_direction(vector, HookPoint(2, "resid_pre")), dictionary, 1, method="", seed=0
    )
    assert facts.note == "the direction is from layer 2 resid_pre, the dictionary from layer 1 resid_pre"
    _, same = reconstruct(
        unit_direction(vector, HookPoint(0, "resid_post")), dictionary, 1, method="", seed=0
    )
    assert same.note is None
    with pytest.raises(DirectionError, match="d_model 16"):
        reconstruct(unit_direction(vector), _dictionary(16), 1, method="", seed=0)
    with pytest.raises(DirectionError, match="has 200 features"):
        reconstruct(unit_direction(vector), dictionary, 201, method="", seed=0)


def test_examples_are_the_strongest_prompts(tiny_model: Any) -> None:
    dictionary, vector = _planted()
    _, facts = reconstruct(unit_direction(vector), dictionary, 2, method="", seed=0)
    prompts = ["apple", "How do I water the fern?", "river stone", "I cannot help with that", "7 8 9"]
    shown = with_examples(facts, dictionary, tiny_model, prompts)
    for feature in shown.features:
        activations = [example.activation for example in feature.examples]
        assert 1 <= len(activations) <= 3
        assert activations == sorted(activations, reverse=True)
        assert all(activation > 0 for activation in activations)
        assert {example.prompt for example in feature.examples} <= set(prompts)
