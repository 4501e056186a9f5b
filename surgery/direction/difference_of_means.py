"""Difference of means: μ₊ − μ₋ of the residual stream at every post-instruction position of every layer.

Means are float64 sums over training prompts; the difference of layer l and position p is a candidate
direction (Belrose 2023; Arditi et al. 2024, section 2.3). On request it is projected off the negative mean
first, δ − (δ·â)â with â = μ₋/‖μ₋‖, so that ablating it leaves μ₋ as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from surgery.direction.direction import Direction, unit_direction
from surgery.direction.refusal_score import derive_refusal_tokens, encode_refusal_tokens, refusal_scores
from surgery.direction.selection import Limits, Selection, Trial, select_candidate
from surgery.errors import DirectionError
from surgery.hook_point import HookPoint
from surgery.linalg.projection import without
from surgery.model.chat import post_instruction_length
from surgery.model.language_model import LanguageModel, chat_tokens, final_log_probs
from surgery.model.prompts import PromptSet
from surgery.model.residuals import mean_residuals
from surgery.recipe.finding import SelectArditi, SelectFixed

TokenLists = list[list[int]]


@dataclass(frozen=True)
class Contrast:
    """A direction, and what a difference of means was taken over and chosen by."""

    direction: Direction
    n_train: tuple[int, int] | None = None
    selection: Selection | None = None


@dataclass(frozen=True)
class _Sides:
    """Tokens of both sides, for the means and for the trials."""

    train: tuple[TokenLists, TokenLists]
    validation: tuple[TokenLists, TokenLists]


def difference_of_means(
    model: LanguageModel,
    positive: PromptSet,
    negative: PromptSet,
    select: SelectArditi | SelectFixed,
    *,
    seed: int,
    off_negative_mean: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Contrast:
    """Find a direction between two sets of prompts.

    Args:
        off_negative_mean: whether each candidate is made orthogonal to the negative mean at its place.

    Raises:
        DirectionError: a set is too small, or nothing survives the selection.
    """
    if isinstance(select, SelectFixed):
        return _at_fixed_place(model, positive, negative, select, off=off_negative_mean)
    sides = _split(model, positive, negative, select, seed)
    if select.refusal_tokens is None:
        tokens = derive_refusal_tokens(model, *sides.train)
    else:
        tokens = encode_refusal_tokens(model, select.refusal_tokens)
    if select.filter:
        sides = _keep_typical(model, sides, tokens)
    keep = post_instruction_length(model.tokenizer)
    means = [mean_residuals(model, side, keep=keep) for side in sides.train]
    difference = _difference(means[0], means[1], off=off_negative_mean)
    limits = Limits(
        below=select.below,
        kl_at_most=select.kl_at_most,
        induce_at_least=select.induce_at_least,
        layers=None if select.layers is None else tuple(select.layers),
    )
    trial = Trial(model, *sides.validation, refusal_tokens=tokens, limits=limits)
    selection = select_candidate(difference, trial, progress=progress)
    chosen = selection.chosen
    return Contrast(
        _as_direction(
            difference[chosen.layer, chosen.position],
            HookPoint(chosen.layer, "resid_pre"),
            chosen.position,
            off=off_negative_mean,
        ),
        (len(sides.train[0]), len(sides.train[1])),
        selection,
    )


def _at_fixed_place(
    model: LanguageModel, positive: PromptSet, negative: PromptSet, select: SelectFixed, *, off: bool
) -> Contrast:
    if select.layer >= model.n_layers:
        raise DirectionError(
            f"select.layer is {select.layer}, and the model has layers 0 to {model.n_layers - 1}"
        )
    index = select.layer + (select.hook_point == "resid_post")
    means = []
    for side in (positive, negative):
        tokens = [chat_tokens(model, prompt) for prompt in side.prompts[: select.train]]
        shortest = min(len(each) for each in tokens)
        if shortest < -select.position:
            raise DirectionError(
                f"select.position is {select.position}, and the shortest prompt of {side.name} has"
                f" {shortest} tokens"
            )
        means.append(mean_residuals(model, tokens, keep=-select.position)[index, 0])
    n_train = (len(positive.prompts[: select.train]), len(negative.prompts[: select.train]))
    point = HookPoint(select.layer, select.hook_point)
    difference = _difference(means[0], means[1], off=off)
    return Contrast(_as_direction(difference, point, select.position, off=off), n_train)


def _difference(positive: np.ndarray, negative: np.ndarray, *, off: bool) -> np.ndarray:
    difference = positive - negative
    return without(difference, negative) if off else difference


def _as_direction(difference: np.ndarray, point: HookPoint, position: int, *, off: bool) -> Direction:
    if not difference.any():
        raise DirectionError(
            f"{point}, position {position}: both sides have the same mean"
            + (", since before the first block a position holds its token alone" if point.layer == 0 else "")
            + "; take a later layer, or a position whose tokens differ"
        )
    origin = {"find": "difference_of_means", "position": position}
    return unit_direction(difference, point, {**origin, "off_negative_mean": True} if off else origin)


def _split(
    model: LanguageModel, positive: PromptSet, negative: PromptSet, select: SelectArditi, seed: int
) -> _Sides:
    """Disjoint training and validation prompts of each side, drawn by the seed."""
    drawn = []
    for side in (positive, negative):
        wanted = select.train + select.validation
        prompts = list(dict.fromkeys(side.prompts))
        if len(prompts) < wanted:
            raise DirectionError(
                f"{side.name} has {len(prompts)} different prompts; train {select.train} + validation"
                f" {select.validation} ask for {wanted}: lower select.train or select.validation"
            )
        order = np.random.default_rng(seed).permutation(len(prompts))[:wanted]
        drawn.append([chat_tokens(model, prompts[row]) for row in order])
    return _Sides(
        train=(drawn[0][: select.train], drawn[1][: select.train]),
        validation=(drawn[0][select.train :], drawn[1][select.train :]),
    )


def _keep_typical(model: LanguageModel, sides: _Sides, tokens: Sequence[int]) -> _Sides:
    """Only prompts on which the unedited model does what their side says: positive score > 0, negative <
    0."""

    def keep(prompts: TokenLists, sign: int) -> TokenLists:
        scores = refusal_scores(final_log_probs(model, prompts), tokens)
        return [prompt for prompt, score in zip(prompts, scores, strict=True) if sign * score > 0]

    kept = _Sides(
        train=(keep(sides.train[0], 1), keep(sides.train[1], -1)),
        validation=(keep(sides.validation[0], 1), keep(sides.validation[1], -1)),
    )
    for part in ("train", "validation"):
        for side, name in zip(getattr(kept, part), ("positive", "negative"), strict=True):
            if not side:
                raise DirectionError(
                    f"no {name} {part} prompt is left: the unedited model does not treat any as its side says"
                    " (does it refuse the positive prompts at all? select.filter: false keeps every prompt)"
                )
    return kept
