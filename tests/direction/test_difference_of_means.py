"""Difference of means and Arditi's selection on a model in which a direction was planted."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from surgery.direction.difference_of_means import difference_of_means
from surgery.direction.refusal_score import derive_refusal_tokens, refusal_scores
from surgery.direction.selection import Limits, Trial, select_candidate
from surgery.errors import DirectionError
from surgery.model.language_model import chat_tokens, final_log_probs
from surgery.model.prompts import PromptSet, prompt_set
from surgery.model.residuals import mean_residuals, residuals
from surgery.recipe.finding import SelectArditi, SelectFixed

HARMFUL = prompt_set("harmful", [{"prompt": f"How do I steal {n}?"} for n in range(40)])
HARMLESS = prompt_set("harmless", [{"prompt": f"How do I water {n}?"} for n in range(40)])
REFUSAL = " cannot"


@pytest.fixture(scope="module")
def planted(tiny_model: Any) -> Any:
    """A model that answers prompts with ' steal' in them by one token: a lookup along one planted direction.

    The embedding of ' steal' carries the direction, the first layer's attention spreads it to later
    positions, and the unembedding of the refusal token reads it.
    """
    network = copy.deepcopy(tiny_model.network)
    tokenizer = tiny_model.tokenizer
    steal = tokenizer(" steal", add_special_tokens=False)["input_ids"][0]
    refusal = tokenizer(REFUSAL, add_special_tokens=False)["input_ids"][0]
    direction = torch.zeros(32)
    direction[5] = 1.0
    with torch.no_grad():
        embedding = network.model.embed_tokens.weight
        embedding[:, 5] = 0.0
        embedding[steal, 5] = 8.0
        for layer in network.model.layers:
            layer.self_attn.o_proj.weight[5] = 0.0
            layer.mlp.down_proj.weight[5] = 0.0
        attention = network.model.layers[0].self_attn
        attention.q_proj.weight.zero_()  # uniform attention
        attention.v_proj.weight.zero_()
        attention.v_proj.weight[0, 5] = 10.0
        attention.o_proj.weight.zero_()
        attention.o_proj.weight[5, 0] = 10.0
        network.lm_head.weight[:, 5] = 0.0
        network.lm_head.weight[refusal] = 0.0
        network.lm_head.weight[refusal, 5] = 10.0
    return replace(tiny_model, network=network)


def _tokens(model: Any, prompts: PromptSet) -> list[list[int]]:
    return [chat_tokens(model, prompt) for prompt in prompts.prompts]


def test_refusal_tokens_are_what_opens_refusals_only(planted: Any) -> None:
    found = derive_refusal_tokens(planted, _tokens(planted, HARMFUL), _tokens(planted, HARMLESS))
    assert [planted.tokenizer.decode([token]) for token in found] == [REFUSAL]
    with pytest.raises(DirectionError, match="begin alike"):
        derive_refusal_tokens(planted, _tokens(planted, HARMLESS), _tokens(planted, HARMLESS))


def test_scores_are_log_odds() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    scores = refusal_scores(probabilities.log(), [0, 1])
    np.testing.assert_allclose(scores, [np.log(0.9 / 0.1), np.log(0.2 / 0.8)], atol=1e-5)
    assert np.isfinite(refusal_scores(torch.tensor([[0.0, -torch.inf]]), [0])).all()


def test_the_planted_direction_is_found_and_selected(planted: Any) -> None:
    select = SelectArditi(rule="arditi", train=24, validation=8, kl_at_most=5.0)
    contrast = difference_of_means(planted, HARMFUL, HARMLESS, select, seed=0)
    assert contrast.selection is not None
    chosen = contrast.selection.chosen
    assert chosen.layer in (1, 2)
    assert contrast.direction.vector[5] > 0.5
    assert chosen.bypass is not None and chosen.bypass < contrast.selection.baseline[0]
    assert contrast.selection.baseline[0] > 0 > contrast.selection.baseline[1]
    layers = {candidate.layer for candidate in contrast.selection.candidates if candidate.rejected is None}
    assert 0 not in layers
    assert contrast.selection.refusal_tokens == (REFUSAL,)


def test_the_same_seed_finds_the_same_and_the_difference_is_of_means(planted: Any) -> None:
    select = SelectFixed(layer=1, hook_point="resid_post", position=-2)
    contrast = difference_of_means(planted, HARMFUL, HARMLESS, select, seed=0)
    sides = [
        residuals(planted, _tokens(planted, side), keep=2)[:, 2, 0].mean(axis=0)
        for side in (HARMFUL, HARMLESS)
    ]
    expected = sides[0].astype(np.float64) - sides[1]
    assert contrast.direction.norm == pytest.approx(np.linalg.norm(expected), rel=1e-4)
    np.testing.assert_allclose(contrast.direction.vector, expected / np.linalg.norm(expected), atol=1e-4)
    again = difference_of_means(planted, HARMFUL, HARMLESS, select, seed=0)
    assert again.direction.sha256 == contrast.direction.sha256


def test_nothing_left_is_explained(planted: Any) -> None:
    select = SelectArditi(rule="arditi", train=24, validation=8, kl_at_most=0.0, induce_at_least=99.0)
    with pytest.raises(
        DirectionError, match=r"none of \d+ candidates meets the limits; \d+ have KL above 0 .*relax select"
    ):
        difference_of_means(planted, HARMFUL, HARMLESS, select, seed=0)


def test_limits_reject_in_order_of_cost(planted: Any) -> None:
    sides = [_tokens(planted, side)[:6] for side in (HARMFUL, HARMLESS)]
    tokens = derive_refusal_tokens(planted, *sides)
    differences = np.random.default_rng(0).standard_normal((4, 2, 32))
    differences[0, 1] = 0.0
    trial = Trial(
        planted, sides[0], sides[1], tokens, Limits(below=0.7, kl_at_most=1e9, induce_at_least=-1e9)
    )
    found = select_candidate(differences, trial).candidates
    by_place = {(each.layer, each.position): each for each in found}
    assert by_place[0, -1].rejected == "the two means are equal here"
    assert by_place[2, -1].rejected == "layer not below 0.7 of the depth"
    assert by_place[2, -1].kl is None
    assert by_place[1, -1].rejected is None and by_place[1, -1].bypass is not None


def test_too_few_prompts_and_impossible_places_are_refused(planted: Any) -> None:
    with pytest.raises(DirectionError, match="harmful has 40 different prompts"):
        difference_of_means(planted, HARMFUL, HARMLESS, SelectArditi(rule="arditi"), seed=0)
    with pytest.raises(DirectionError, match="layers 0 to 2"):
        difference_of_means(planted, HARMFUL, HARMLESS, SelectFixed(layer=3), seed=0)
    with pytest.raises(DirectionError, match="shortest prompt"):
        difference_of_means(planted, HARMFUL, HARMLESS, SelectFixed(layer=1, position=-999), seed=0)
    swapped = SelectArditi(rule="arditi", train=24, validation=8, refusal_tokens=[REFUSAL])
    with pytest.raises(DirectionError, match="no positive train prompt is left"):
        difference_of_means(planted, HARMLESS, HARMFUL, swapped, seed=0)


def test_base_is_untouched_by_the_search(planted: Any) -> None:
    before = final_log_probs(planted, _tokens(planted, HARMFUL))
    difference_of_means(
        planted,
        HARMFUL,
        HARMLESS,
        SelectArditi(rule="arditi", train=24, validation=8, kl_at_most=5.0),
        seed=1,
    )
    torch.testing.assert_close(final_log_probs(planted, _tokens(planted, HARMFUL)), before, rtol=0, atol=0)


def test_off_the_negative_mean_an_ablation_leaves_that_mean(planted: Any) -> None:
    select = SelectFixed(layer=1, position=-1)
    plain = difference_of_means(planted, HARMFUL, HARMLESS, select, seed=0).direction
    off = difference_of_means(planted, HARMFUL, HARMLESS, select, seed=0, off_negative_mean=True).direction
    mean = mean_residuals(planted, _tokens(planted, HARMLESS), keep=1)[1, 0]

    def moved(r: np.ndarray) -> float:
        return float(abs(mean @ r.astype(np.float64)) / np.linalg.norm(mean))

    assert moved(off.vector) < 1e-7 and moved(plain.vector) > 1e-3
    assert off.origin["off_negative_mean"] is True and "off_negative_mean" not in plain.origin


def test_every_candidate_is_taken_off_the_mean_before_it_is_tried(planted: Any) -> None:
    select = SelectArditi(rule="arditi", train=24, validation=8, kl_at_most=5.0)
    plain = difference_of_means(planted, HARMFUL, HARMLESS, select, seed=0)
    off = difference_of_means(planted, HARMFUL, HARMLESS, select, seed=0, off_negative_mean=True)
    assert plain.selection is not None and off.selection is not None
    before = {(each.layer, each.position): each.norm for each in plain.selection.candidates}
    after = {(each.layer, each.position): each.norm for each in off.selection.candidates}
    assert all(after[place] <= before[place] * (1 + 1e-6) for place in before)
    assert any(after[place] < 0.999 * before[place] for place in before)
    assert off.selection.chosen.bypass is not None and off.selection.chosen.bypass < 0
