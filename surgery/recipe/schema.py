"""The recipe as a typed value: every key, its default, and what it means.

A recipe is data. Each top-level key is one room of the library and one section of the report. The text under
a field is its documentation: `surgery schema` prints it, and editors show it while a recipe is written.

A section with a `shorthand` may be written as the bare value of that key: `prompts: demo:harmful` says
`prompts: {source: demo:harmful}`, and a plain list under `edit` says `edit: {steps: [...]}`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    model_validator,
)

Role = Literal["embedding", "attention_out", "mlp_out"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")]
Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Section(BaseModel):
    """Base of every part: no unknown keys, frozen values, strict types, finite numbers."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    shorthand: ClassVar[str | None] = None
    """The key whose bare value may stand for the whole section."""

    @model_validator(mode="before")
    @classmethod
    def _expand_shorthand(cls, value: Any) -> Any:
        wanted = list if cls.shorthand == "steps" else str
        return {cls.shorthand: value} if cls.shorthand and isinstance(value, wanted) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.shorthand is None or "anyOf" in schema:
            return schema
        about = {key: schema.pop(key) for key in ("title", "description") if key in schema}
        mapping = dict(schema)
        schema.clear()
        schema.update(about | {"anyOf": [mapping["properties"][cls.shorthand], mapping]})
        return schema


class ModelSource(Section):
    """Which model is edited."""

    source: Text
    """`demo:refuser`, a folder relative to the working directory, or a Hub id (`google/gemma-2-2b-it`)."""
    revision: str | None = None
    """Hub branch, tag or commit; resolved to a commit and written to the lock file."""
    dtype: Dtype = "auto"
    """Precision in which the model is measured (never of the edit).

    auto is float32 on a CPU, the model's own elsewhere. Any other widens the weights of an FP8 checkpoint.
    """
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model runs while it is measured."""
    trust_remote_code: bool = False
    """Whether code found in the model's folder may run. Off unless you say so."""


class PromptSource(Section):
    """A set of prompts: `demo:` name, a JSONL, JSON, CSV or text file, or a file of a Hub dataset.

    A bare text is read as `source`.
    """

    shorthand = "source"

    source: Text
    """`demo:harmful`, a path relative to the recipe, or a Hub dataset id (then `file` is needed)."""
    file: str | None = None
    """File inside the Hub dataset."""
    revision: str | None = None
    """Hub branch, tag or commit."""
    field: str | None = None
    """Column that holds the prompt; by default the first of prompt, instruction, goal, question, text."""
    count: Annotated[int, Field(ge=1)] | None = None
    """Take only this many, from the start."""


class SelectArditi(Section):
    """Choose layer and position by behaviour, after Arditi et al. 2024 (section 2.3 and appendix C)."""

    rule: Literal["arditi"]
    train: Annotated[int, Field(ge=2)] = 128
    """Prompts per side that the means are taken over."""
    validation: Annotated[int, Field(ge=2)] = 32
    """Prompts per side that candidates are scored on; never among the training ones."""
    layers: Layers | None = None
    """Only these layers are candidates; default all below `below` of the depth."""
    below: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Candidates stand in layers below this share of the depth."""
    kl_at_most: float = 0.1
    """Discard a candidate whose ablation moves harmless prompts further than this, in nats."""
    induce_at_least: float = 0.0
    """Discard a candidate whose addition does not bring the refusal score on harmless prompts to this."""
    filter: bool = True
    """Keep only prompts on which the unedited model behaves as their side says."""
    refusal_tokens: Annotated[list[Text], Field(min_length=1)] | None = None
    """First tokens of a refusal; by default derived from the model's own greedy replies."""


class SelectFixed(Section):
    """Take the direction at one place."""

    layer: Annotated[int, Field(ge=0)]
    hook_point: Literal["resid_pre", "resid_post"] = "resid_pre"
    position: Annotated[int, Field(lt=0)] = -1
    """Token position counted from the end of the prompt, template included."""
    train: Annotated[int, Field(ge=2)] | None = None
    """Prompts per side that the means are taken over; default all."""


def _keys(value: Any) -> set[str]:
    """Keys of a mapping or a section; of anything else none, so that it belongs to no kind."""
    if isinstance(value, Section):
        return set(type(value).model_fields)
    return set(value) if isinstance(value, dict) else set()


def _select_kind(value: Any) -> str | None:
    keys = _keys(value)
    return "arditi" if "rule" in keys else "fixed" if "layer" in keys else None


Select = Annotated[
    Annotated[SelectArditi, Tag("arditi")] | Annotated[SelectFixed, Tag("fixed")], Discriminator(_select_kind)
]


class DictionaryFacts(Section):
    """What a dictionary's files do not say, or say wrongly; an error about one names the fact it wants."""

    format: Text | None = None
    """Which reader to use: saelens, saex, gemma_scope, …; default told by the files."""
    hook_point: Text | None = None
    """What it reads: `resid_pre.16`, or TransformerLens' `blocks.16.hook_resid_pre`."""
    k: Annotated[int, Field(ge=1)] | None = None
    """Active features a token of a topk dictionary."""
    input_norm: Annotated[float, Field(ge=0)] | None = None
    """Mean length of the activations it was trained on; 0 says that they were not normalised."""
    trust_pickle: bool = False
    """Open a `.pt` file, as tensors and plain values only. Off unless you say so."""


class Reconstruct(Section):
    """Rebuild the direction from a few features of a sparse dictionary."""

    dictionary: Text
    """`demo:refuser`, a folder relative to the working directory, or a Hub id."""
    revision: str | None = None
    """Hub branch, tag or commit of the dictionary."""
    path: Text | None = None
    """Folder or file inside the dictionary's source, where it holds several."""
    facts: DictionaryFacts | None = None
    k: Annotated[int, Field(ge=1)]
    """Number of distinct features."""
    method: Literal[
        "gradient_pursuit", "omp", "nonnegative_omp", "fista", "encoded_difference", "decoder_cosine"
    ] = "gradient_pursuit"
    """How the features and their signed coefficients are found.

    encoded_difference compares the codes of the positive and the negative prompts.
    """
    refit: bool = False
    """Give the chosen features their least-squares coefficients."""


class FindDifferenceOfMeans(Section):
    """Mean residual over the positive prompts minus mean over the negative ones."""

    find: Literal["difference_of_means"]
    positive: PromptSource
    negative: PromptSource
    off_negative_mean: bool = False
    """Take out of the difference what lies along the negative prompts' own mean, so that an ablation leaves
    that mean as it is. A reconstruction from features is of what remains, and meets the mean again a
    little."""
    select: Select = SelectArditi(rule="arditi")
    reconstruct: Reconstruct | None = None


class FindFile(Section):
    """A direction saved before, by this tool or any other that writes safetensors."""

    find: Literal["file"]
    path: Text
    """A safetensors file with a tensor of shape (d_model,), relative to the recipe."""
    tensor: str | None = None
    """Name of the tensor where the file holds several."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Layer it was taken at, where the file does not say."""
    hook_point: Literal["resid_pre", "resid_post"] | None = None
    """Hook point it was taken at, where the file does not say."""
    reconstruct: Reconstruct | None = None


class FindWeightDifference(Section):
    """What an edited checkpoint's writers no longer write, against the unedited one."""

    find: Literal["weight_difference"]
    base: Text
    """The unedited checkpoint: `demo:refuser`, a folder relative to the working directory, a Hub id, or a
    GGUF file."""
    edited: Text
    """The edited one, of the same kind."""
    revision: str | None = None
    """Hub branch, tag or commit of `base`."""
    edited_revision: str | None = None
    """Hub branch, tag or commit of `edited`."""
    variant: Literal["shared", "early_mlp"] = "shared"
    """shared: what all writers have in common. early_mlp: singular vectors of the first two blocks' MLP
    outputs, as the experiment did that this tool grew from (it took component 1)."""
    component: Annotated[int, Field(ge=0)] = 0
    """Which component, counted from 0; the direction's origin lists them all."""
    reconstruct: Reconstruct | None = None


Find = Annotated[FindDifferenceOfMeans | FindFile | FindWeightDifference, Field(discriminator="find")]


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

    norm: float | None = None
    """Length of the vector that is added."""
    times: float | None = None
    """Multiple of the length the direction was found with."""

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
    keys = _keys(value)
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


class Gate(Section):
    """A limit on one measured number; a failed gate makes the command end with 3."""

    at_most: float | None = None
    at_least: float | None = None
    bound: Literal["point", "upper95", "lower95"] = "point"
    """Hold the point estimate, or the end of its 95 % interval, to the limit."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Gate:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give exactly one of at_most, at_least")
        return self


class RefusalSuite(Section):
    """Share of replies that refuse, before and after."""

    prompts: PromptSource
    max_new_tokens: Annotated[int, Field(ge=1)] = 48
    edited: Gate | None = None
    """Limit on the edited model's rate."""
    increase: Gate | None = None
    """Limit on edited minus base."""
    decrease: Gate | None = None
    """Limit on base minus edited."""
    degenerate: Gate | None = None
    """Limit on the edited model's share of degenerate or empty replies."""


class ChoiceSuite(Section):
    """Multiple choice in MMLU's format, by likelihood of the letter."""

    questions: PromptSource
    shots: Annotated[int, Field(ge=0, le=5)] = 0
    examples: PromptSource | None = None
    """Where the shots are taken from."""
    drop: Gate | None = None
    """Limit on base minus edited accuracy."""
    edited: Gate | None = None


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


class PreferenceSuite(Section):
    """Which of two answers a model prefers, in CAA's format: mean probability of the matching one."""

    pairs: PromptSource
    increase: Gate | None = None
    decrease: Gate | None = None


class Verify(Section):
    """What is measured on the written result, beside the base model, on the same items."""

    refusal: RefusalSuite | None = None
    overrefusal: RefusalSuite | None = None
    choice: ChoiceSuite | None = None
    drift: DriftSuite | None = None
    perplexity: PerplexitySuite | None = None
    preference: PreferenceSuite | None = None
    control: Annotated[int, Field(ge=0)] = 1
    """Random directions, edited in the same way and measured on `refusal` or `preference`, as a control."""


class Output(Section):
    """Where the result goes and as what."""

    folder: Text
    """Relative to the working directory; it must not exist."""
    form: Literal["checkpoint", "peft"] = "checkpoint"


class Recipe(Section):
    """One run, from a model to a measured, edited result."""

    name: Text | None = None
    """Default: the file's name."""
    seed: int = 0
    model: ModelSource
    direction: dict[Name, Find] = Field(json_schema_extra={"additionalProperties": False})
    """Each direction under the name by which `edit` calls it."""
    edit: Edit
    verify: Verify = Verify()
    output: Output
    resolved: dict[str, Any] | None = None
    """Only in a lock file, written by the tool: what the names of the recipe stood for when it ran
    (commits, sha256, versions). Checked, never followed, when the lock is applied."""
