"""What a suite is: how a model is asked, how two sides become rows, and what the report calls it.

A new suite is a file that ends with its `Suite`, a line in `suites.SUITES`, and its section of the recipe
(`recipe/verifying.py`) under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from surgery.model.language_model import LanguageModel
from surgery.model.prompts import PromptSet
from surgery.recipe.section import PromptSource, Section
from surgery.recipe.verifying import Gate
from surgery.verify.progress import Progress
from surgery.verify.records import Record
from surgery.verify.rows import RecordPairs, Row

Gates = Mapping[str, Gate]


@dataclass(frozen=True)
class Asked:
    """A suite of a recipe with its items; `section` is its part of the recipe."""

    name: str
    section: Any
    prompts: PromptSet
    examples: PromptSet | None = None


@dataclass(frozen=True)
class Turn:
    """Whose turn it is, who follows, and what the suite kept of the base (None where this is the base)."""

    side: str
    progress: Progress
    kept: Any = None


Measured = tuple[tuple[Record, ...], Any]
"""Records, and what the measurement of further sides needs of this one, if anything."""


@dataclass(frozen=True)
class Suite:
    """One kind of measurement, whole."""

    measure: Callable[[LanguageModel, Asked, Turn], Measured]
    table: Callable[[str, RecordPairs, Gates, int], list[Row]]
    """(suite, paired records, gates by their name in the recipe, seed) → rows, the main one first."""
    question: str
    """What it answers: `whether it refuses harmful requests`."""
    task: str
    metric: str
    """Names of what is measured and of its main number in the Hub's model-index."""
    check: Callable[[Asked], object] = lambda asked: None
    """Raises VerifyError where an item cannot be asked."""
    behaviour: str | None = None
    """What a sentence calls its main number, where that is what an edit is made for: `Refusals of …`."""
    controlled: bool = False
    """Whether random directions are measured on it too; where none asked is, on those with a behaviour."""
    detected: bool = False
    """Whether its numbers rest on the detector."""


def items_of(section: Section) -> PromptSource:
    """The set that a suite's section of the recipe asks."""
    return next(each for _, each in section if isinstance(each, PromptSource))
