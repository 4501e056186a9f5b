"""The `edit` section: which steps are done to the weights, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from surgery.recipe.section import Layers, Section, Text, keys_of

Role = Literal["embedding", "attention_out", "mlp_out"]


class LayerRange(Section):
    """Layers from one number to another, both of them included."""

    first: Annotated[int, Field(ge=0)]
    last: Annotated[int, Field(ge=0)] | None = None
    """Default the model's last."""

    @model_validator(mode="after")
    def _in_order(self) -> LayerRange:
        if self.last is not None and self.last < self.first:
            raise ValueError(f"last is {self.last}, before first, which is {self.first}")
        return self


class Kernel(Section):
    """How a strength falls off with the distance from one layer."""

    peak: Annotated[float, Field(ge=0)]
    """The layer of full strength; it may lie between two."""
    reach: Annotated[float, Field(gt=0)]
    """Up to this many layers away the step acts, beyond it not at all."""
    least: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the strength that is left at the end of the reach."""
    shape: Literal["linear", "cosine", "flat"] = "linear"
    """How it falls from the peak to the end of the reach; flat does not."""


class Ablate(Section):
    """Remove, weaken or strengthen a direction in every matrix that writes to the residual stream."""

    ablate: Text
    """Name of the direction."""
    strength: float = 1.0
    """1 removes, between 0 and 1 weakens, negative strengthens, 0 changes nothing, 2 reflects."""
    writers: Literal["all"] | Annotated[list[Role], Field(min_length=1)] = "all"
    """Which writers are edited."""
    layers: Layers | LayerRange | None = None
    """Only writers of these layers (the embedding then stays): a list, or `{first: 8, last: 24}`; default
    every layer."""
    kernel: Kernel | None = None
    """Weights over the layers by which `strength` is multiplied (the embedding then stays); default all 1."""


class Scale(Section):
    """Length of an added vector: exactly one of the two."""

    norm: Annotated[float, Field(ge=0)] | None = None
    """Length of the vector that is added."""
    times: float | None = None
    """Multiple of the length the direction was found with; a negative one points the other way."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Scale:
        if (self.norm is None) == (self.times is None):
            raise ValueError("give exactly one of norm, times")
        return self


class Add(Section):
    """Add a steering vector to the output of one layer."""

    add: Text
    """Name of the direction."""
    layer: Annotated[int, Field(ge=0)]
    """The vector is added to this layer's `resid_post`."""
    scale: Scale = Scale(times=1.0)
    positions: Literal["all"] = "all"
    """Token positions at which it is added."""


def _step_kind(value: Any) -> str | None:
    keys = keys_of(value)
    return "ablate" if "ablate" in keys else "add" if "add" in keys else None


Step = Annotated[Annotated[Ablate, Tag("ablate")] | Annotated[Add, Tag("add")], Discriminator(_step_kind)]


class Edit(Section):
    """What is done to the weights. A plain list is read as `steps`."""

    shorthand = "steps"

    steps: Annotated[list[Step], Field(min_length=1)]
    rounding: Literal["nearest", "feedback"] = "nearest"
    """How an edited float32 value returns to the stored precision.

    feedback carries the error along the direction.
    """
    keep: Literal["nothing", "column_norms"] = "nothing"
    """column_norms gives each column of an edited matrix, which is what it writes for one of its inputs, the
    length back that it had."""
    stretch_at_most: Annotated[float, Field(ge=1)] = 2.0
    """The most that a column is made longer for that; one that lay nearly along the direction would else be
    blown up."""
    tied: Literal["accept", "untie", "skip"] = "accept"
    """Where the embedding is also the unembedding: edit both roles at once, leave both, or give the model an
    unembedding of its own that stays as it was."""
    unproved: Literal["refuse", "allow"] = "refuse"
    """What happens where no twin of the model shows that the edit is exact: stop before anything is written,
    or go on and say so in plan, report and card."""
