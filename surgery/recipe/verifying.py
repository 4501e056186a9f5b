"""The `verify` section: what is measured, and the limits that are set to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from surgery.recipe.section import PromptSource, Section


class Gate(Section):
    """A limit on one measured number, in its unit; a failed gate makes the command end with 3."""

    at_most: float | None = None
    """Exactly one of the two."""
    at_least: float | None = None
    bound: Literal["point", "upper95", "lower95"] = "point"
    """Hold the point estimate, or the end of its 95 % interval, to the limit."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Gate:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give exactly one of at_most, at_least")
        return self


class ShareGate(Gate):
    """A limit on a share of 1, or on the change of one: 0.05 is 5 percent, or 5 points."""

    at_most: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Exactly one of the two."""
    at_least: Annotated[float, Field(ge=-1, le=1)] | None = None


class RefusalSuite(Section):
    """Share of replies that refuse, before and after."""

    prompts: PromptSource
    max_new_tokens: Annotated[int, Field(ge=1)] = 48
    """Where a reply is cut off."""
    edited: ShareGate | None = None
    """Limit on the edited model's rate."""
    increase: ShareGate | None = None
    """Limit on edited minus base."""
    decrease: ShareGate | None = None
    """Limit on base minus edited."""
    degenerate: ShareGate | None = None
    """Limit on the edited model's share of degenerate or empty replies."""


class ChoiceSuite(Section):
    """Multiple choice in MMLU's format, by likelihood of the letter: rows with `question`, `choices` (a list)
    and `answer` (its number from 0, or its letter)."""

    questions: PromptSource
    shots: Annotated[int, Field(ge=0, le=5)] = 0
    """Solved questions shown before each one."""
    examples: PromptSource | None = None
    """Where the shots are taken from."""
    drop: ShareGate | None = None
    """Limit on base minus edited accuracy."""
    edited: ShareGate | None = None
    """Limit on the edited model's accuracy."""

    @model_validator(mode="after")
    def _shots_have_examples(self) -> ChoiceSuite:
        if self.shots and self.examples is None:
            raise ValueError(f"{self.shots} shots are asked for and no examples are named; add 'examples'")
        return self


class DriftSuite(Section):
    """How far the next-token distribution moved: KL(base ‖ edited) in nats."""

    prompts: PromptSource
    tokens: Annotated[int, Field(ge=1)] = 16
    """Length of the base model's own reply that both are forced through for `kl_tokens`."""
    kl_first: Gate | None = None
    """Limit on the mean KL at the first generated token."""
    kl_tokens: Gate | None = None
    """Limit on the mean KL per token over the reply."""


class PerplexitySuite(Section):
    """Cross-entropy on plain text, in nats per token."""

    texts: PromptSource
    increase: Gate | None = None
    """Limit on edited minus base."""


class PreferenceSuite(Section):
    """Which of two answers a model prefers, in CAA's format: mean probability of the matching one; rows with
    `question`, `answer_matching_behavior` and `answer_not_matching_behavior`."""

    pairs: PromptSource
    increase: ShareGate | None = None
    """Limit on edited minus base."""
    decrease: ShareGate | None = None
    """Limit on base minus edited."""


class Verify(Section):
    """What is measured on the written result, beside the base model, on the same items."""

    refusal: RefusalSuite | None = None
    overrefusal: RefusalSuite | None = None
    choice: ChoiceSuite | None = None
    drift: DriftSuite | None = None
    perplexity: PerplexitySuite | None = None
    preference: PreferenceSuite | None = None
    control: Annotated[int, Field(ge=0)] = 1
    """Random directions, edited in the same way and measured on `refusal` and `preference`, or
    where neither is asked on `overrefusal`, as a control."""
