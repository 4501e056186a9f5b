"""What a training run is told: the YAML of `surgery-train`, key by key.

Strict and frozen: an unknown key, a wrong type or an impossible combination is an error. The text under a key
is its documentation. `trainer.reader` reads a file into `Config`.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from surgery.hub import is_hub_id
from surgery.recipe.section import Misfit
from trainer.kinds import DictionarySettings, TranscoderSettings
from trainer.settings import Count, DeviceSettings, Positive, Settings

MODEL = "model"  # the source of texts that the model itself is
WRITTEN = ("demo:chats", "demo:documents")  # sources that are written on demand


class ModelSettings(Settings):
    """The model whose activations are learnt."""

    source: str
    """`demo:refuser`, a folder that transformers can load, or a Hub id."""
    revision: str | None = None
    """Branch, tag or commit of a model of the Hub."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the model's forward pass; activations are float32 in either case."""
    decoder: Literal["transformers", "jax"] = "transformers"
    """Who runs the model for the training data: transformers, or this trainer's own decoder (llama, mistral,
    qwen2, qwen3, phi3, gemma, gemma2, gemma3_text). The final numbers are transformers' in either case."""
    weights: Literal["float", "int8"] = "float"
    """What the JAX decoder holds the model's matrices in: `dtype`, or 8 bits with a scale for each output."""
    attention: Literal["auto", "plain", "xla", "cudnn", "pallas"] = "auto"
    """How the JAX decoder computes attention; auto is flash attention on a GPU or TPU where it fits the
    model, else plain. See `trainer.decoder.attention`."""
    blocks: str | None = None
    """Where the list of decoder blocks stands (`model.layers`), for a family this trainer has no entry
    for."""

    @model_validator(mode="after")
    def _decoders_keys_go_with_it(self) -> "ModelSettings":
        if self.decoder != "jax" and (self.weights != "float" or self.attention != "auto"):
            raise ValueError("weights and attention go with decoder: jax; add it, or remove them")
        return self


class HookSettings(Settings):
    """Where in the model."""

    layer: Annotated[int, Field(ge=0)]
    """0-based number of the block."""
    point: Literal["resid_pre", "resid_post", "mlp"] = "resid_pre"
    """The residual stream before or after the block; `resid_post` of the last layer is taken before the final
    norm. `mlp`, for a transcoder, is what the block's MLP module reads and what it writes."""


class GenerateSettings(Settings):
    """How the model writes its own texts; see `trainer.subject.writing`."""

    user_tokens: Count = 64
    """Longest user turn; one that does not end by then is left out. The reply takes what `data.context`
    leaves."""
    replies: bool = True
    """Let the model answer its user turns; without, each text ends where the reply would begin."""
    temperature: Positive = 1.0
    """Logits are divided by it before a token is drawn."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the likeliest tokens that together have this share of the probability."""


class TextSource(Settings):
    """One set of texts."""

    source: str
    """`demo:chats`, `demo:documents`, a demo prompt set (`demo:harmful`), or a .jsonl (`messages`, `prompt`
    or `text`) or .txt file (one text a line), .gz of either, .json or .parquet; or a Hub dataset's id (then
    `file` is needed). A `prompt` is put into the chat template, ending where the reply begins. `model`: chats
    that the model writes itself."""
    file: str | None = None
    """Files of the Hub dataset, in these formats: a path in it, or a pattern (`data/train-*.jsonl.gz`)."""
    revision: str | None = None
    """Branch, tag or commit of the Hub dataset; the commit is kept with the run."""
    field: str | None = None
    """Column of a file that holds the texts or chats; None takes the first there is of messages, prompt,
    text. A chat is a list of turns with `role` and `content`, or `from` and `value`."""
    as_prompt: bool = False
    """Put each text of a file into the chat template, as `prompt` is."""
    count: Count | None = None
    """How many texts; None takes a whole file. Needed by `demo:chats`, `demo:documents` and `model`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of `demo:chats`, `demo:documents` and `model`."""
    repeat: Count = 1
    """How often each text is seen in one pass over the data."""
    last_tokens: Count | None = None
    """Keep only this many tokens at the end of each text; None keeps all."""
    generate: GenerateSettings | None = None
    """How the texts of `source: model` are written; None takes the defaults."""

    @model_validator(mode="after")
    def _model_writes_a_number_of_texts(self) -> "TextSource":
        if self.source == MODEL and self.count is None:
            raise ValueError("source: model writes as many texts as it is told to; add count")
        if self.source != MODEL and self.generate is not None:
            raise ValueError("generate goes with source: model only; remove it")
        return self

    @model_validator(mode="after")
    def _keys_of_files_go_with_files(self) -> "TextSource":
        if self.file is not None and not is_hub_id(self.source):
            raise ValueError(
                f"file goes with the id of a Hub dataset (organisation/name), not {self.source!r}"
            )
        if self.revision is not None and self.file is None:
            raise ValueError("revision goes with file, for a dataset of the Hub; add file")
        written = self.source == MODEL or self.source in WRITTEN
        if written and (self.field is not None or self.as_prompt):
            raise ValueError(f"field and as_prompt go with files; {self.source} is none; remove them")
        return self


class DataSettings(Settings):
    """Which tokens."""

    train: Annotated[tuple[TextSource, ...], Field(min_length=1, strict=False)]
    held_out: Annotated[tuple[TextSource, ...], Field(min_length=1, strict=False)]
    """Texts that the final numbers are measured on."""
    activations: str | None = None
    """Folder that `surgery-train harvest` wrote, to train on instead of the model's forward passes."""
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
    """β₂ of Adam."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """β₁ of Adam; 0 keeps no first moment, which halves the optimiser's state."""
    clip: Positive | None = 1.0
    """Joint norm that gradients are clipped to."""
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    """What matrices are held in between steps; int8 is 10 bits a weight, for rows of a multiple of 16."""
    second_moment: Literal["float32", "int8"] = "float32"
    """What the optimiser's state of matrices is held in."""
    rounding: Literal["nearest", "stochastic"] = "nearest"
    """How weights below float32 are rounded after a step."""
    dead_after: Annotated[int, Field(ge=1, lt=2**30)] = 262_144
    """A feature is dead when it was silent for this many tokens."""
    rare_below: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A feature is dead, too, when it fired on less than this share of the tokens of a whole window; the
    seed's is 5.0e-6."""
    rare_window: Count = 1000
    """Steps of such a window."""
    log_every: Count = 100
    """Steps between two lines of metrics.jsonl; the loss is checked for NaN there."""
    save_every: Count | None = None
    """Steps between two checkpoints, the last step included; None saves only when the run is asked to end."""

    @model_validator(mode="after")
    def _window_can_be_counted(self) -> "TrainingSettings":
        if self.rare_below is not None and self.rare_window * self.batch >= 2**31:
            raise Misfit("times training.batch must stay below 2,147,483,648; lower it", "rare_window")
        return self


class _RunSettings(Settings):
    """What all dictionaries of a run share."""

    model: ModelSettings
    data: DataSettings
    buffer: BufferSettings = BufferSettings()
    training: TrainingSettings
    devices: DeviceSettings = DeviceSettings()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class Config(_RunSettings):
    """One training run."""

    hook: HookSettings
    dictionary: DictionarySettings

    @model_validator(mode="after")
    def _all_goes_together(self) -> "Config":
        _check_together(self, self)
        return self


class DictionaryEntry(Settings):
    """One of several dictionaries of a run."""

    hook: HookSettings
    dictionary: DictionarySettings


class SeveralConfig(_RunSettings):
    """Several dictionaries from the same forward passes; each is what a run of its own would give."""

    dictionaries: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")], DictionaryEntry], Field(min_length=1)
    ]
    """By the name of the folder that each goes to."""

    @model_validator(mode="after")
    def _all_goes_together(self) -> "SeveralConfig":
        for name, entry in self.dictionaries.items():
            _check_together(self, entry, "dictionaries", name)
        return self

    def each(self) -> dict[str, Config]:
        """The run of each dictionary by itself."""
        shared = {name: getattr(self, name) for name in _RunSettings.model_fields}
        return {
            name: Config(hook=entry.hook, dictionary=entry.dictionary, **shared)
            for name, entry in self.dictionaries.items()
        }


def _check_together(run: _RunSettings, one: Config | DictionaryEntry, *place: str) -> None:
    """Raises: Misfit when values of different sections do not go together; `one` stands at `place`."""
    training, capacity = run.training, run.buffer.capacity
    if isinstance(one.dictionary, TranscoderSettings) != (one.hook.point == "mlp"):
        said = "architecture: transcoder and hook.point: mlp go together; change one of them"
        raise Misfit(said, *place, "hook")
    for size, axis, path in (
        (training.batch, "data", ("training", "batch")),
        (capacity, "data", ("buffer", "capacity")),
        (one.dictionary.features, "model", (*place, "dictionary", "features")),
    ):
        if size % getattr(run.devices, axis):
            raise Misfit(f"{size} is not divided by devices.{axis}; change one of them", *path)
    if training.batch > capacity:
        raise Misfit("is larger than buffer.capacity; raise buffer.capacity", "training", "batch")
    if run.data.context * run.data.batch > capacity:
        said = "holds less than one forward pass (data.context * data.batch); raise it"
        raise Misfit(said, "buffer", "capacity")
