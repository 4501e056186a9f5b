"""What every section of a recipe is made of: strict frozen values, and the sets of prompts they name.

A section with a `shorthand` may be written as the bare value of that key: `prompts: demo:harmful` says
`prompts: {source: demo:harmful}`, and a plain list under `edit` says `edit: {steps: [...]}`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator

Text = Annotated[str, Field(min_length=1)]
Layers = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Misfit(ValueError):
    """Values that do not go together; `path` leads from the section to the key that is to be changed."""

    def __init__(self, said: str, *path: str) -> None:
        """With what is wrong and what to do."""
        super().__init__(said)
        self.path = path


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


def keys_of(value: Any) -> set[str]:
    """The keys of a mapping or a section; of anything else none, so that it belongs to no kind."""
    if isinstance(value, Section):
        return set(type(value).model_fields)
    return set(value) if isinstance(value, dict) else set()
