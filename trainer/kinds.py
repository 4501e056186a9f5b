"""The kinds of dictionary as a config names them: one section each, told apart by `architecture`.

The formulas stand in `trainer.architectures`, one file a kind.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.settings import Count, NonNegative, Positive, Settings

Sparsity = Literal["l1", "reciprocal", "tanh", "sqrt"]


class _PenaltySettings(Settings):
    """What the kinds with a penalty on positive activations share."""

    features: Count
    coefficient: NonNegative
    """c of the penalty, which is summed over features while the error is averaged over dimensions."""
    epsilon: Positive = 0.1
    """ε of the reciprocal x/(x+ε), in units of normalised activations."""
    ghost: NonNegative = 0.25
    """Weight of the ghost gradients on dead features."""


class ReluSettings(_PenaltySettings):
    """ReLU dictionary, the seed's recipe; see `trainer.architectures.relu`."""

    architecture: Literal["relu"]
    sparsity: Sparsity = "reciprocal"
    """S of the penalty; the reciprocal is x/(x+ε)."""


class GatedSettings(_PenaltySettings):
    """Gated dictionary; see `trainer.architectures.gated`."""

    architecture: Literal["gated"]
    sparsity: Sparsity = "l1"
    """S of the penalty on the gate; the reciprocal is x/(x+ε)."""


class JumpreluSettings(Settings):
    """JumpReLU dictionary; see `trainer.architectures.jumprelu`."""

    architecture: Literal["jumprelu"]
    features: Count
    sparsity: Literal["step", "tanh", "target_l0"] = "step"
    """What is penalised: the number of active features, a smooth count, or the distance from `target_l0`."""
    coefficient: NonNegative
    """c of the penalty; the error is summed over dimensions."""
    target_l0: Positive | None = None
    """Wanted active features per token, for sparsity: target_l0."""
    bandwidth: Positive = 0.05
    """Width ε of the window round the threshold in which the threshold gets a gradient."""
    threshold: Positive = 0.01
    """Threshold of every feature at the start, in units of normalised activations."""
    preactivation: NonNegative = 3e-6
    """Weight of the loss that lifts dead features' pre-activations towards their threshold."""

    @model_validator(mode="after")
    def _target_is_told(self) -> "JumpreluSettings":
        if (self.sparsity == "target_l0") != (self.target_l0 is not None):
            raise ValueError("target_l0 and sparsity: target_l0 go together; give both or neither")
        return self


class _SparseSettings(Settings):
    """What the kinds with a fixed number of active features share."""

    features: Count
    k: Count
    """Active features per token: at most, or on average where a batch shares them."""
    auxiliary: NonNegative = 0.03125
    """Weight of AuxK, the dead features' loss; 0 turns it off."""

    @model_validator(mode="after")
    def _k_fits(self) -> "_SparseSettings":
        if self.k > self.features:
            raise ValueError(f"k is {self.k} but there are only {self.features} features; lower k")
        return self


class TopkSettings(_SparseSettings):
    """TopK dictionary; see `trainer.architectures.topk`."""

    architecture: Literal["topk"]
    recall: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the true top k that training may settle for (`approx_max_k`, fast on a TPU); None is exact."""


class BatchtopkSettings(_SparseSettings):
    """BatchTopK dictionary; see `trainer.architectures.batchtopk`."""

    architecture: Literal["batchtopk"]


class MatryoshkaSettings(_SparseSettings):
    """Matryoshka dictionary; see `trainer.architectures.matryoshka`."""

    architecture: Literal["matryoshka"]
    prefixes: Annotated[tuple[Count, ...], Field(min_length=1, strict=False)]
    """Numbers of features that must reconstruct by themselves, rising; `features` itself is added."""

    @model_validator(mode="after")
    def _prefixes_rise(self) -> "MatryoshkaSettings":
        rising = (0, *self.prefixes, self.features)
        if any(low >= high for low, high in pairwise(rising)):
            raise ValueError(f"prefixes must rise and stay below features, found {list(self.prefixes)}")
        return self


class TranscoderSettings(_SparseSettings):
    """Transcoder: reads a block's MLP input and writes its output; see `trainer.architectures.transcoder`."""

    architecture: Literal["transcoder"]
    skip: bool = False
    """Add a linear map from input to output beside the features."""


DictionarySettings = Annotated[
    ReluSettings
    | GatedSettings
    | JumpreluSettings
    | TopkSettings
    | BatchtopkSettings
    | MatryoshkaSettings
    | TranscoderSettings,
    Field(discriminator="architecture"),
]
