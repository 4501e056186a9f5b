"""The recipe as a typed value: every key, its default, and what it means.

A recipe is data. Each top-level key is one room of the library and one section of the report. The text under
a field is its documentation: `surgery schema` prints it, and editors show it while a recipe is written.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from surgery.recipe.editing import Edit
from surgery.recipe.finding import Find
from surgery.recipe.section import Section, Text
from surgery.recipe.verifying import Verify

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$")]


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


class Output(Section):
    """Where the result goes and as what."""

    folder: Text
    """Relative to the working directory, or from `~`, the home folder, on; it must not exist."""
    form: Literal["checkpoint", "peft"] = "checkpoint"
    """peft writes an adapter that does the same to the unedited model."""


class Recipe(Section):
    """One run, from a model to a measured, edited result."""

    name: Text | None = None
    """Default: the file's name."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of every random choice: controls, bootstrap, transcripts."""
    model: ModelSource
    direction: dict[Name, Find] = Field(json_schema_extra={"additionalProperties": False})
    """Each direction under the name by which `edit` calls it."""
    edit: Edit
    verify: Verify = Verify()
    output: Output
    resolved: dict[str, Any] | None = None
    """Only in a lock file, written by the tool: what the names of the recipe stood for when it ran
    (commits, sha256, versions). Checked, never followed, when the lock is applied."""
