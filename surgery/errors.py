"""Every exception this library raises on purpose, drawn as a tree.

    SurgeryError
    ├── RecipeError        the recipe, an override or an option cannot be accepted; nothing was run
    ├── SourceError        a model, dictionary, prompt set or file that was named cannot be found or read
    ├── CheckpointError    a checkpoint on disk is malformed, unsafe, or not what its index says
    ├── AnatomyError       the writers of a model are not all known, or their table could not be proved
    ├── DictionaryError    a sparse dictionary is incomplete, ambiguous, or does not fit the model
    ├── DirectionError     no direction could be found, or the one given is unusable
    ├── EditError          an edit cannot be expressed exactly, or did not do what the plan says
    ├── OutputError        the result cannot be written where it was asked for
    ├── UploadError        a result may not be published, or the Hub did not take it
    └── VerifyError        a measurement cannot be made

A message says what is wrong, where, and what to do about it. `surgery` on the command line turns a
`RecipeError` or a `SourceError` into exit code 2 and every other member into exit code 1.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe, and where it stands.

    `path` is the place inside the recipe (`direction.refusal.k`, `edit[0].ablate`); `line` and
    `column` count from 1 and are None where the value did not come from a file.
    """

    message: str
    path: str = ""
    file: str | None = None
    line: int | None = None
    column: int | None = None

    @property
    def place(self) -> str:
        """`recipe.yaml:4:7`, as far as it is known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)

    @property
    def sentence(self) -> str:
        """The message behind the path that it is about."""
        return f"{self.path}: {self.message}" if self.path else self.message

    def __str__(self) -> str:
        return "    ".join(part for part in (self.place, self.sentence) if part)


class SurgeryError(Exception):
    """Base of the family; catching it catches everything this library raises on purpose."""


class RecipeError(SurgeryError):
    """The recipe cannot be accepted. `problems` holds every one that was found, in file order."""

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(Problem(each) if isinstance(each, str) else each for each in problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SourceError(SurgeryError):
    """A model, dictionary, prompt set or file that was named cannot be found or read."""


class CheckpointError(SurgeryError):
    """A checkpoint on disk is malformed, unsafe, or not what its index says."""


class AnatomyError(SurgeryError):
    """The writers of a model are not all known, or their table could not be proved."""


class DictionaryError(SurgeryError):
    """A sparse dictionary is incomplete, ambiguous, or does not fit the model."""


class DirectionError(SurgeryError):
    """No direction could be found, or the one given is unusable."""


class EditError(SurgeryError):
    """An edit cannot be expressed exactly, or did not do what the plan says."""


class OutputError(SurgeryError):
    """The result cannot be written where it was asked for."""


class UploadError(SurgeryError):
    """A result may not be published, or the Hub did not take it."""


class VerifyError(SurgeryError):
    """A measurement cannot be made."""
