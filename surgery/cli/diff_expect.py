"""`surgery diff --expect`: does the edited checkpoint hold what a recipe, or its lock, says it should?

The plan is made again from the recipe's steps and the directions that the edited folder carries, and every
element is held against it (`surgery.edit.audit`): each edited one the exact result rounded, everything else
the same byte for byte. A lock also says which directions these must be, by their SHA-256.
"""

from __future__ import annotations

from pathlib import Path

from surgery.checkpoint.layout import Checkpoint
from surgery.direction.direction import Direction, read_directions
from surgery.edit.audit import audit
from surgery.edit.plan import plan_edit
from surgery.edit.recheck import NOT_THE_BASES
from surgery.errors import DirectionError, EditError
from surgery.model.anatomy import read_anatomy
from surgery.recipe import LoadedRecipe, load_recipe
from surgery.recipe.editing import Ablate


def unexpected(recipe: Path, before: Checkpoint, after: Checkpoint) -> tuple[str, ...]:
    """What differs from what the recipe says, a sentence each; empty where all is as it should be.

    Raises:
        RecipeError: the file is no recipe.
        DirectionError: the edited folder does not carry the directions that the recipe names.
        EditError: the recipe cannot be planned on this checkpoint, or writes an adapter.
    """
    loaded = load_recipe(recipe)
    if loaded.recipe.output.form == "peft":
        raise EditError(
            f"{loaded.name}: writes an adapter, which changes no tensor on disk; `surgery reproduce` writes"
            " it again from its lock and compares every byte"
        )
    steps = [step for step in loaded.recipe.edit.steps if isinstance(step, Ablate)]
    directions = _directions(loaded, after, steps)
    vectors = {name: direction.vector for name, direction in directions.items()}
    plan = plan_edit(before, read_anatomy(before.config, before.shapes), loaded.recipe.edit, vectors)
    return (
        *_other_directions(loaded, directions),
        *audit(plan, before, after, replaced=NOT_THE_BASES).problems,
    )


def _directions(loaded: LoadedRecipe, after: Checkpoint, steps: list[Ablate]) -> dict[str, Direction]:
    file = after.folder / "surgery" / "direction.safetensors"
    if not file.is_file():
        raise DirectionError(
            f"{after.folder}: has no surgery/direction.safetensors, so what {loaded.name} should have done to"
            " it cannot be worked out"
        )
    saved = read_directions(file)
    missing = sorted({step.ablate for step in steps} - set(saved))
    if missing:
        raise DirectionError(f"{file}: has no direction {missing[0]!r}; it holds: {', '.join(saved)}")
    return {step.ablate: saved[step.ablate] for step in steps}


def _other_directions(loaded: LoadedRecipe, directions: dict[str, Direction]) -> list[str]:
    known = (loaded.recipe.resolved or {}).get("directions") or {}
    return [
        f"direction {name!r}: its sha256 is {direction.sha256[:12]}…, the lock says {str(known[name])[:12]}…"
        for name, direction in directions.items()
        if name in known and known[name] != direction.sha256
    ]
