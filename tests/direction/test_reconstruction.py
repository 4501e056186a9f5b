"""A rebuilt direction keeps its signs, says how good it is, and stands beside chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from surgery.dictionary.coding import METHODS, code_paths
from surgery.dictionary.dictionary import Dictionary, atoms_of, unit_rows
from surgery.dictionary.source import READERS
from surgery.direction.direction import unit_direction
from surgery.direction.encoded import FeatureContrast, Split, encoded_difference_path
from surgery.direction.quality import code_quality
from surgery.direction.reconstruction import open_wanted, reconstruct, with_examples
from surgery.errors import DictionaryError, DirectionError
from surgery.hook_point import HookPoint
from surgery.linalg.lasso import refit_code
from surgery.recipe.finding import DictionaryFacts, Reconstruct

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
        subtract_b_dec=True,
        hook_point=HookPoint(1, "resid_pre"),
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
        unit_direction(vector, HookPoint(2, "resid_pre")), dictionary, 1, method="gradient_pursuit", seed=0
    )
    assert facts.note == "the direction is from layer 2 resid_pre, the dictionary is from layer 1 resid_pre"
    written = replace(dictionary, is_transcoder=True, output_point=HookPoint(3, "mlp_out"))
    _, facts = reconstruct(
        unit_direction(vector, HookPoint(1, "resid_pre")), written, 1, method="gradient_pursuit", seed=0
    )
    assert facts.note == "the direction is from layer 1 resid_pre, the dictionary writes layer 3 mlp_out"
    _, same = reconstruct(
        unit_direction(vector, HookPoint(0, "resid_post")), dictionary, 1, method="gradient_pursuit", seed=0
    )
    assert same.note is None
    with pytest.raises(DirectionError, match="d_model 16"):
        reconstruct(unit_direction(vector), _dictionary(16), 1, method="gradient_pursuit", seed=0)
    with pytest.raises(DirectionError, match="has 200 features"):
        reconstruct(unit_direction(vector), dictionary, 201, method="gradient_pursuit", seed=0)


def test_examples_are_the_strongest_prompts(tiny_model: Any) -> None:
    dictionary, vector = _planted()
    _, facts = reconstruct(unit_direction(vector), dictionary, 2, method="gradient_pursuit", seed=0)
    prompts = ["apple", "How do I water the fern?", "river stone", "I cannot help with that", "7 8 9"]
    shown = with_examples(facts, dictionary, tiny_model, prompts)
    assert shown.agreement == facts.agreement != ()
    for feature in shown.features:
        activations = [example.activation for example in feature.examples]
        assert 1 <= len(activations) <= 3
        assert activations == sorted(activations, reverse=True)
        assert all(activation > 0 for activation in activations)
        assert {example.prompt for example in feature.examples} <= set(prompts)


def test_a_dictionary_of_a_deeper_model_has_no_examples_here(tiny_model: Any) -> None:
    dictionary, vector = _planted()
    deeper = replace(dictionary, hook_point=HookPoint(tiny_model.n_layers, "resid_pre"))
    _, facts = reconstruct(unit_direction(vector), deeper, 2, method="gradient_pursuit", seed=0)
    assert [feature.examples for feature in with_examples(facts, deeper, tiny_model, ["apple"]).features] == [
        (),
        (),
    ]


@pytest.mark.parametrize("method", [*METHODS, "encoded_difference"])
def test_every_method_finds_planted_features_and_says_what_the_others_find(method: str) -> None:
    dictionary, vector = _planted()
    if method == "nonnegative_omp":
        vector = 2.0 * unit_rows(dictionary, [7])[0] + 1.5 * unit_rows(dictionary, [90])[0]
    difference = np.zeros(N_FEATURES)
    difference[[7, 90]] = np.array([2.0, -1.5]) / dictionary.row_norms[[7, 90]]
    contrast = _contrast(difference)
    direction = unit_direction(vector, HookPoint(1, "resid_pre"))
    _, facts = reconstruct(direction, dictionary, 2, method=method, seed=0, contrast=contrast)
    assert {feature.number for feature in facts.features} == {7, 90}
    assert facts.features[0].auroc == 0.9
    assert facts.method == method
    others = {each.method: each for each in facts.agreement}
    assert others.keys() == {*METHODS, "encoded_difference"} - {method}
    assert all(each.shared == len({7, 90} & set(each.features)) for each in others.values())
    assert others["omp" if method != "omp" else "gradient_pursuit"].shared == 2


def _contrast(difference: np.ndarray) -> FeatureContrast:
    """A contrast whose random splits are noise, in codes and in the stream alike."""
    rng = np.random.default_rng(4)
    splits = tuple(Split(rng.standard_normal(N_FEATURES), rng.standard_normal(D_MODEL)) for _ in range(20))
    ones = np.ones(N_FEATURES)
    return FeatureContrast(difference, 0.9 * ones, ones, 0.0 * ones, splits)


@pytest.mark.parametrize("method", ["fista", "encoded_difference"])
@pytest.mark.parametrize("refit", [False, True])
def test_chance_is_what_the_same_method_gives(method: str, refit: bool) -> None:
    dictionary, rng = _dictionary(), np.random.default_rng(5)
    vector, contrast = rng.standard_normal(D_MODEL), _contrast(rng.standard_normal(N_FEATURES))
    coding = {"method": method, "seed": 0, "refit": refit, "contrast": contrast}
    _, facts = reconstruct(unit_direction(vector), dictionary, 3, **coding)
    if method == "fista":
        targets = np.random.default_rng((0, 20)).standard_normal((20, D_MODEL))
        paths = code_paths(dictionary, targets, 8, method="fista", refit=refit)
        codes = [path[2] for path in paths]
    else:
        targets = np.stack([split.target for split in contrast.splits])
        codes = [encoded_difference_path(dictionary, split.difference, 3)[2] for split in contrast.splits]
        if refit:
            codes = [
                refit_code(atoms_of(dictionary), target, code)
                for target, code in zip(targets, codes, strict=True)
            ]
    cosines = [code_quality(dictionary, target, code)[0] for target, code in zip(targets, codes, strict=True)]
    assert facts.point.random_direction == pytest.approx((np.mean(cosines), np.std(cosines)), abs=1e-9)
    assert facts.chance == ("random direction" if method == "fista" else "random split")


def test_a_refit_is_never_worse() -> None:
    dictionary, vector = _planted()
    direction = unit_direction(vector + 0.3 * np.random.default_rng(1).standard_normal(D_MODEL))
    for method in METHODS:
        plain, refitted = (
            reconstruct(direction, dictionary, 3, method=method, seed=0, refit=refit)[1]
            for refit in (False, True)
        )
        assert [each.number for each in plain.features] == [each.number for each in refitted.features]
        assert refitted.point.fvu <= plain.point.fvu + 1e-12


def test_a_method_that_needs_prompts_or_is_unknown_is_refused() -> None:
    dictionary, vector = _planted()
    with pytest.raises(DirectionError, match="two sets of prompts"):
        reconstruct(unit_direction(vector), dictionary, 2, method="encoded_difference", seed=0)
    with pytest.raises(DirectionError, match="known: gradient_pursuit"):
        reconstruct(unit_direction(vector), dictionary, 2, method="guess", seed=0)
    with pytest.raises(DirectionError, match="finds 0 features"):
        reconstruct(
            unit_direction(-unit_rows(_one_sided(), [0])[0]),
            _one_sided(),
            2,
            method="nonnegative_omp",
            seed=0,
        )


def _one_sided() -> Dictionary:
    """Every row points the same way, so nothing with positive weights rebuilds the opposite."""
    rows = np.ones((10, D_MODEL), np.float32) + 0.1 * np.arange(10, dtype=np.float32)[:, None]
    return replace(_dictionary(), W_dec=rows, W_enc=rows, b_enc=np.zeros(10, np.float32))


def test_facts_of_a_recipe_reach_the_reader() -> None:
    said = Reconstruct(
        dictionary="demo:refuser", k=2, facts=DictionaryFacts(hook_point="resid_post.2", format="saelens")
    )
    assert open_wanted(said).hook_point == HookPoint(2, "resid_post")
    writes = Reconstruct(dictionary="demo:refuser", k=2, facts=DictionaryFacts(output_point="mlp_out.2"))
    with pytest.raises(DictionaryError, match="no transcoder"):
        open_wanted(writes)


def test_a_recipe_knows_the_formats_that_are_read() -> None:
    known, _ = get_args(DictionaryFacts.model_fields["format"].annotation)
    assert get_args(known) == tuple(READERS)
