"""Which layer and position a direction is taken at: the rule of Arditi et al. 2024 (section 2.3, appendix C).

Every candidate, a difference of means at one post-instruction position of one layer's input, is tried on
validation prompts that no mean was taken over:

    bypass   mean refusal score on harmful prompts while the direction is ablated everywhere (lower is better)
    induce   mean refusal score on harmless prompts while the difference is added at its layer
    KL       mean KL(base ‖ ablated) at the last position of harmless prompts, in nats

A candidate is discarded when its layer is not below 0.8 of the depth, its KL is above 0.1 or its induce score
below 0; of the rest the lowest bypass wins. The tests run from cheap to dear and stop at the first that
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from surgery.direction.refusal_score import refusal_scores
from surgery.errors import DirectionError
from surgery.hook_point import HookPoint
from surgery.linalg.divergence import kl_divergence
from surgery.model.interventions import ablating, adding
from surgery.model.language_model import LanguageModel, final_log_probs

if TYPE_CHECKING:
    import torch

Tokens = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Candidate:
    """One place a direction could be taken, and how it did. A score that was never needed is None."""

    layer: int
    position: int
    norm: float
    kl: float | None = None
    induce: float | None = None
    bypass: float | None = None
    rejected: str | None = None


@dataclass(frozen=True)
class Limits:
    """What a candidate must meet; the defaults are Arditi's."""

    below: float = 0.8
    kl_at_most: float = 0.1
    induce_at_least: float = 0.0
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Selection:
    """The winner, every candidate, and what they were tried on."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    limits: Limits
    n_validation: tuple[int, int]
    refusal_tokens: tuple[str, ...]
    baseline: tuple[float, float]
    """Mean refusal score of the unedited model on the positive and the negative validation prompts."""

    @property
    def n_passed(self) -> int:
        return sum(candidate.rejected is None for candidate in self.candidates)


@dataclass(frozen=True)
class Trial:
    """What every candidate is tried with."""

    model: LanguageModel
    positive: Tokens
    negative: Tokens
    refusal_tokens: tuple[int, ...]
    limits: Limits


def select_candidate(
    differences: np.ndarray, trial: Trial, *, progress: Callable[[int, int], None] | None = None
) -> Selection:
    """Try every candidate and take the best.

    Args:
        differences: (n_layers or more, positions, d_model); positions end at the last prompt token.

    Raises:
        DirectionError: no candidate meets the limits; the message says what each limit cost.
    """
    base_negative = final_log_probs(trial.model, trial.negative)
    base_positive = final_log_probs(trial.model, trial.positive)
    places = _places(differences, trial)
    tried: list[Candidate] = []
    for number, candidate in enumerate(places):
        vector = differences[candidate.layer, candidate.position]
        tried.append(candidate if candidate.rejected else _try(candidate, vector, trial, base_negative))
        if progress is not None:
            progress(number + 1, len(places))
    passed = [candidate for candidate in tried if candidate.rejected is None]
    if not passed:
        raise DirectionError(_nothing_left(tried, trial.limits))
    return Selection(
        chosen=min(passed, key=lambda candidate: (candidate.bypass, candidate.layer, candidate.position)),
        candidates=tuple(tried),
        limits=trial.limits,
        n_validation=(len(trial.positive), len(trial.negative)),
        refusal_tokens=tuple(trial.model.tokenizer.decode([token]) for token in trial.refusal_tokens),
        baseline=(
            float(refusal_scores(base_positive, trial.refusal_tokens).mean()),
            float(refusal_scores(base_negative, trial.refusal_tokens).mean()),
        ),
    )


def _places(differences: np.ndarray, trial: Trial) -> list[Candidate]:
    limits, n_layers = trial.limits, trial.model.n_layers
    places = []
    for layer in range(n_layers):
        for position in range(-differences.shape[1], 0):
            norm = float(np.linalg.norm(differences[layer, position]))
            place = Candidate(layer, position, norm)
            if limits.layers is not None and layer not in limits.layers:
                continue
            # Before layer 0 attention has moved nothing: where the token is the same in every prompt, so is
            # the stream.
            if norm == 0.0 or not np.isfinite(norm):
                place = replace(place, rejected="the two means are equal here")
            elif layer >= int(limits.below * n_layers):
                place = replace(place, rejected=f"layer not below {limits.below:g} of the depth")
            places.append(place)
    return places


def _try(candidate: Candidate, vector: np.ndarray, trial: Trial, base_negative: torch.Tensor) -> Candidate:
    model, limits = trial.model, trial.limits
    unit = vector / np.linalg.norm(vector)
    with ablating(model, unit):
        kl = float(kl_divergence(base_negative, final_log_probs(model, trial.negative)).mean())
    candidate = replace(candidate, kl=kl)
    if not kl <= limits.kl_at_most:
        return replace(candidate, rejected=f"KL {kl:.3f} above {limits.kl_at_most:g}")
    with adding(model, vector, HookPoint(candidate.layer, "resid_pre")):
        induce = float(refusal_scores(final_log_probs(model, trial.negative), trial.refusal_tokens).mean())
    candidate = replace(candidate, induce=induce)
    if not induce >= limits.induce_at_least:
        return replace(candidate, rejected=f"induce {induce:.2f} below {limits.induce_at_least:g}")
    with ablating(model, unit):
        bypass = float(refusal_scores(final_log_probs(model, trial.positive), trial.refusal_tokens).mean())
    return replace(candidate, bypass=bypass)


def _nothing_left(tried: Sequence[Candidate], limits: Limits) -> str:
    kls = [candidate.kl for candidate in tried if candidate.kl is not None]
    induces = [candidate.induce for candidate in tried if candidate.induce is not None]
    facts = [f"none of {len(tried)} candidates meets the limits"]
    if kls:
        over = sum(kl > limits.kl_at_most for kl in kls)
        facts.append(f"{over} have KL above {limits.kl_at_most:g} (lowest {min(kls):.3f})")
    if induces:
        under = sum(induce < limits.induce_at_least for induce in induces)
        facts.append(f"{under} induce less than {limits.induce_at_least:g} (highest {max(induces):.2f})")
    return (
        "; ".join(facts) + "; relax select.kl_at_most or select.induce_at_least, allow more layers,"
        " or fix layer and position yourself"
    )
