"""A recipe from its file: read strictly, every problem reported at once with its line and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from surgery.errors import Problem, RecipeError
from surgery.recipe.overrides import apply_overrides
from surgery.recipe.references import check_references
from surgery.recipe.schema import Recipe
from surgery.recipe.sources import at_home, did_you_mean_file
from surgery.recipe.validation import validate
from surgery.recipe.yaml_tree import read_yaml

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe that has been accepted, with what is known of its origin."""

    recipe: Recipe
    path: Path | None
    """The file; None for a recipe that was given as text."""
    text: str
    """The file as read, before any override."""

    @property
    def name(self) -> str:
        """The recipe's own name, or its file's."""
        return self.recipe.name or (self.path.stem if self.path else "recipe")

    def resolve(self, relative: str) -> Path:
        """The path of a prompt set or direction file: relative to the recipe's folder, or absolute."""
        return (self.path.parent if self.path else Path()) / at_home(relative)

    @property
    def target(self) -> Path:
        """The folder that the result goes to."""
        return at_home(self.recipe.output.folder)


def load_recipe(
    path: str | Path, *, overrides: Sequence[str] = (), look_for_files: bool = True
) -> LoadedRecipe:
    """Read a recipe or a lock file, apply `overrides` (`a.b=value`) in order, and check all of it.

    With `look_for_files` off, the files that it names may be missing. Raises RecipeError with every problem
    that was found, in the order of the file, those of overrides last.
    """
    return parse_recipe(
        read_text(Path(path)), path=Path(path), overrides=overrides, look_for_files=look_for_files
    )


def parse_recipe(
    text: str, *, path: Path | None = None, overrides: Sequence[str] = (), look_for_files: bool = True
) -> LoadedRecipe:
    """`load_recipe` of a text; `path` is the file that problems name and paths are relative to."""
    origin = str(path) if path else "recipe"
    document = read_yaml(text, origin)
    document, problems = apply_overrides(document, overrides, Recipe)
    recipe, document, more = validate(document, Recipe)
    problems += more
    folder = path.parent if path else Path()
    problems += check_references(document, folder if look_for_files else None)
    if problems or recipe is None:
        raise refusal(problems, origin)
    return LoadedRecipe(recipe, path, text)


def refusal(problems: Sequence[Problem], origin: str) -> RecipeError:
    """One error of all problems, in the order of the file `origin`, those of overrides last."""

    def order(problem: Problem) -> tuple[bool, int, int]:
        return problem.file != origin, problem.line or 0, problem.column or 0

    return RecipeError(*sorted(dict.fromkeys(problems), key=order))


def read_text(path: Path) -> str:
    """The text of a small YAML file. Raises: RecipeError."""
    try:
        if path.is_dir():
            raise _refused(path, "this is a folder; name a recipe's YAML file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(path, f"there is no such file{did_you_mean_file(path)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(path, f"the file cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise _refused(path, "the file is larger than 1 MB; this is not a recipe")
    return _decoded(data, path)


def _decoded(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        said = "the file is not UTF-8 text; save it as UTF-8"
        raise RecipeError(Problem(said, "", str(path), line, column)) from None


def _refused(path: Path, message: str) -> RecipeError:
    return RecipeError(Problem(message, "", str(path)))
