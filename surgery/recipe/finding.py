"""The `direction` section: how a direction is found, where it is taken, from which features it is rebuilt."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from surgery.recipe.section import Layers, PromptSource, Section, Text, keys_of


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
    """The input or the output of that layer."""
    position: Annotated[int, Field(lt=0)] = -1
    """Token position counted from the end of the prompt, template included."""
    train: Annotated[int, Field(ge=2)] | None = None
    """Prompts per side that the means are taken over; default all."""


def _select_kind(value: Any) -> str | None:
    keys = keys_of(value)
    return "arditi" if "rule" in keys else "fixed" if "layer" in keys else None


Select = Annotated[
    Annotated[SelectArditi, Tag("arditi")] | Annotated[SelectFixed, Tag("fixed")], Discriminator(_select_kind)
]


class DictionaryFacts(Section):
    """What a dictionary's files do not say, or say wrongly; an error about one names the fact it wants."""

    format: (
        Literal[
            "saelens", "saex", "gemma_scope", "gemma_scope_2", "llama_scope", "qwen_scope", "openai",
            "goodfire", "circuit_tracer", "sparsify", "dictionary_learning",
        ]
        | None
    ) = None  # fmt: skip
    """Which reader to use; default told by the files."""
    hook_point: Text | None = None
    """What it reads: `resid_pre.16`, or TransformerLens' `blocks.16.hook_resid_pre`."""
    output_point: Text | None = None
    """What a transcoder writes: `mlp_out.16`."""
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
    """Prompts that show the behaviour."""
    negative: PromptSource
    """Prompts that do not, as like the others as can be."""
    off_negative_mean: bool = False
    """Take out of the difference what lies along the negative prompts' own mean, so that an ablation leaves
    that mean as it is. A reconstruction from features is of what remains, and meets the mean again a
    little."""
    select: Select = SelectArditi(rule="arditi")
    """Layer and token position at which it is taken."""
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
