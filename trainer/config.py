"""What a training run is told: the YAML of `surgery-train`, key by key.

Strict and frozen: an unknown key, a wrong type or an impossible combination is an error. The text under a key
is its documentation. `trainer.reader` reads a file into `Config`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Settings(BaseModel):
    """Base of every section."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class ModelSettings(Settings):
    """The model whose activations are learnt."""

    source: str
    """`demo:refuser`, or a folder that transformers can load."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the model's forward pass; activations are float32 in either case."""
    blocks: str | None = None
    """Where the list of decoder blocks stands (`model.layers`), for a family this trainer has no entry
    for."""


class HookSettings(Settings):
    """Where in the model."""

    layer: Annotated[int, Field(ge=0)]
    """0-based number of the block."""
    point: Literal["resid_pre", "resid_post"] = "resid_pre"
    """The residual stream before or after the block; `resid_post` of the last layer is taken before the final
    norm."""


class TextSource(Settings):
    """One set of texts."""

    source: str
    """`demo:chats`, `demo:documents`, a demo prompt set (`demo:harmful`), or a .jsonl (`messages`, `prompt`
    or `text`) or .txt file (one text a line). A `prompt` is put into the chat template, ending where the
    reply begins."""
    count: Count | None = None
    """How many texts; None takes a whole file. Needed by `demo:chats` and `demo:documents`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of `demo:chats` and `demo:documents`."""
    repeat: Count = 1
    """How often each text is seen in one pass over the data."""
    last_tokens: Count | None = None
    """Keep only this many tokens at the end of each text; None keeps all."""


class DataSettings(Settings):
    """Which tokens."""

    train: Annotated[tuple[TextSource, ...], Field(min_length=1, strict=False)]
    held_out: Annotated[tuple[TextSource, ...], Field(min_length=1, strict=False)]
    """Texts that the final numbers are measured on."""
    context: Annotated[int, Field(ge=2)] = 128
    """Longest text in tokens; what is longer is cut."""
    batch: Count = 32
    """Rows per forward pass of the model."""
    packed: bool = False
    """Fill each row with several texts; each text sees only itself."""
    skip_special_tokens: bool = False
    """Leave out every special token, not only BOS and padding."""
    norm_outliers: Annotated[float, Field(gt=1)] | None = None
    """Leave out tokens whose norm exceeds this many times the batch's median norm."""


class ReluSettings(Settings):
    """ReLU dictionary, the seed's recipe; see `trainer.architectures.relu`."""

    architecture: Literal["relu"]
    features: Count
    sparsity: Literal["l1", "reciprocal", "tanh", "sqrt"] = "reciprocal"
    """S of the penalty; the reciprocal is x/(x+ε)."""
    coefficient: NonNegative
    """c of the penalty, which is summed over features while the error is averaged over dimensions."""
    epsilon: Positive = 0.1
    """ε of the reciprocal x/(x+ε), in units of normalised activations."""
    ghost: NonNegative = 0.25
    """Weight of the ghost gradients on dead features."""


class TopkSettings(Settings):
    """TopK dictionary; see `trainer.architectures.topk`."""

    architecture: Literal["topk"]
    features: Count
    k: Count
    """Active features per token, at most."""
    auxiliary: NonNegative = 0.03125
    """Weight of AuxK, the dead features' loss; 0 turns it off."""

    @model_validator(mode="after")
    def _k_fits(self) -> "TopkSettings":
        if self.k > self.features:
            raise ValueError(f"k is {self.k} but there are only {self.features} features; lower k")
        return self


DictionarySettings = Annotated[ReluSettings | TopkSettings, Field(discriminator="architecture")]


class BufferSettings(Settings):
    """The shuffle buffer on the device."""

    capacity: Count = 262_144
    """Tokens held. Data that fits is harvested once."""
    reuse: Count = 1
    """How often a token is drawn, on average, before fresh ones replace it; of no effect where all data
    fits."""


class TrainingSettings(Settings):
    """How long and how fast."""

    steps: Count
    batch: Annotated[int, Field(ge=2)] = 1024
    """Tokens per step."""
    learning_rate: Positive = 4e-4
    """Peak of the schedule."""
    warmup: Annotated[int, Field(ge=0)] = 128
    """Steps of linear rise; the last 20 % of the steps fall linearly."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """β₂ of momentumless Adam."""
    clip: Positive | None = 1.0
    """Joint norm that gradients are clipped to."""
    dead_after: Count = 262_144
    """A feature is dead when it was silent for this many tokens."""
    log_every: Count = 100
    """Steps between two lines of metrics.jsonl; the loss is checked for NaN there."""


class Config(Settings):
    """One training run."""

    model: ModelSettings
    hook: HookSettings
    data: DataSettings
    dictionary: DictionarySettings
    buffer: BufferSettings = BufferSettings()
    training: TrainingSettings
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _batch_fits(self) -> "Config":
        if self.training.batch > self.buffer.capacity:
            raise ValueError("training.batch is larger than buffer.capacity; raise buffer.capacity")
        if self.data.context * self.data.batch > self.buffer.capacity:
            raise ValueError(
                "one forward pass (data.context * data.batch) is larger than buffer.capacity; raise it"
            )
        return self
