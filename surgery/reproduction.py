"""The same bytes again: a finished result written anew from its lock, and held against its manifest.

    lock ─► base at its commit ─► directions beside the lock ─► plan ─► write ─► SHA256SUMS, line by line
            │ same weights?       │ same SHA-256?

No model is run: the directions were found once, and stand in `surgery/direction.safetensors`. What the first
run measured is its record, which is copied from beside the lock and compared like everything else.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.checkpoint.folder import new_folder
from surgery.checkpoint.hashes import sha256_file
from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.legal import copy_legal_files
from surgery.checkpoint.sums import SUMS_FILE, read_sums, write_sums
from surgery.direction.direction import Direction, read_directions
from surgery.edit.addition import make_additions
from surgery.edit.executor import execute
from surgery.edit.plan import plan_edit
from surgery.errors import CheckpointError, OutputError, SourceError
from surgery.export.peft import make_adapter, write_adapter
from surgery.model.anatomy import read_anatomy
from surgery.model.source import locate_model
from surgery.recipe import LoadedRecipe, load_recipe
from surgery.recipe.editing import Ablate, Add

LOCK = "surgery/surgery.lock.yaml"
DIRECTIONS = "direction.safetensors"
_CARD = "README.md"


@dataclass(frozen=True)
class Reproduction:
    """What was written, and what of it is not as the manifest says.

    `n_compared` files were compared; `n_copied` of them are the first run's record, which no bytes but its
    own can confirm.
    """

    folder: Path
    n_compared: int
    n_copied: int
    differences: tuple[str, ...]


def reproduce(
    lock: Path,
    *,
    output: Path | None = None,
    base: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reproduction:
    """Write the result of a lock again.

    Args:
        lock: `<out>/surgery/surgery.lock.yaml`, its directions beside it, and the manifest one folder up; or
            `<out>` itself.
        output: the new folder; default: the one that the lock names.
        base: where the base stands here, if not where the lock says; its weights must be the same.
        progress: called with (bytes written, bytes in all).

    Raises:
        RecipeError: the file is no recipe.
        SourceError: it is no lock, or a thing it rests on is missing or not the same: the base's weights, the
            directions, the manifest.
        OutputError: the output exists, or cannot be written.
    """
    lock = lock / LOCK if lock.is_dir() else lock
    loaded = load_recipe(lock, look_for_files=False)  # prompt sets and dictionaries are not needed
    if loaded.recipe.resolved is None:
        raise SourceError(f"{lock}: is a recipe and no lock; `surgery apply` runs it and leaves the lock")
    home = lock.parent
    sums = _manifest(home.parent)
    source = _base(loaded, base)
    directions = _directions(loaded, home / DIRECTIONS)
    target = output if output is not None else loaded.target
    if output is None and target.exists():
        raise OutputError(f"{target}: is where the lock would write, and exists; name another by --output")
    needed = 0 if loaded.recipe.output.form == "peft" else source.total_bytes
    with new_folder(target, needed_bytes=needed) as staging:
        _write(loaded, source, directions, staging, progress)
        written = {path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file()}
        copied = _copy_record(home, sums, staging)
        differences = tuple(_differences(staging, sums))
        write_sums(staging)
    return Reproduction(target, len(sums.keys() & (written | copied)), len(copied), differences)


def _manifest(folder: Path) -> dict[str, str]:
    try:
        return read_sums(folder)
    except CheckpointError as error:
        raise SourceError(f"{error}; without the manifest there is nothing to compare with") from error


def _base(loaded: LoadedRecipe, place: str | None) -> Checkpoint:
    """The base, with the very weights that the lock lists."""
    model = loaded.recipe.model
    revision = model.revision if place is None else None
    found = open_checkpoint(locate_model(place or model.source, revision=revision).folder)
    then: Mapping[str, Any] = ((loaded.recipe.resolved or {}).get("model") or {}).get("files") or {}
    if not then:
        raise SourceError(f"{loaded.path}: does not list the weights of {model.source}")
    changed = [
        name for name in sorted(then.keys() | found.headers.keys()) if not _is(found, name, then.get(name))
    ]
    if changed:
        raise SourceError(
            f"{place or model.source}: is not the model that the lock was made with ({', '.join(changed)});"
            " name the folder of that model by --base"
        )
    return found


def _is(checkpoint: Checkpoint, name: str, sha256: Any) -> bool:
    return name in checkpoint.headers and sha256_file(checkpoint.folder / name) == sha256


def _directions(loaded: LoadedRecipe, file: Path) -> dict[str, Direction]:
    """The directions that the steps name, each with the SHA-256 that the lock gives it."""
    if not file.is_file():
        raise SourceError(f"{file}: is missing; `surgery apply {loaded.path}` finds the directions again")
    saved = read_directions(file)
    known = (loaded.recipe.resolved or {}).get("directions") or {}
    names = {step.ablate if isinstance(step, Ablate) else step.add for step in loaded.recipe.edit.steps}
    for name in sorted(names):
        if name not in saved:
            raise SourceError(f"{file}: holds no direction {name!r}, which the lock names")
        if saved[name].sha256 != known.get(name):
            raise SourceError(f"{file}: direction {name!r} is not the one that the lock was made with")
    return {name: saved[name] for name in names}


def _write(
    loaded: LoadedRecipe,
    base: Checkpoint,
    directions: Mapping[str, Direction],
    staging: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    recipe = loaded.recipe
    anatomy = read_anatomy(base.config, base.shapes)
    vectors = {name: direction.vector for name, direction in directions.items()}
    plan = plan_edit(base, anatomy, recipe.edit, vectors)
    if recipe.output.form != "peft":
        execute(plan, base, staging, progress=progress, hashes=False)
        return
    added = [step for step in recipe.edit.steps if isinstance(step, Add)]
    additions = make_additions(added, directions, anatomy.n_layers)
    adapter = make_adapter(plan, additions, base, anatomy, base=recipe.model.source)
    write_adapter(adapter, staging, progress=progress)
    copy_legal_files(base.folder, staging)


def _copy_record(home: Path, sums: Mapping[str, str], staging: Path) -> set[str]:
    """Take over what the first run said of itself: its card, and the files beside the lock."""
    for name in (_CARD, SUMS_FILE):  # the base's own, in whose place the result's come
        (staging / name).unlink(missing_ok=True)
    wanted = [name for name in sums if name == _CARD or name.startswith(f"{home.name}/")]
    copied = set()
    for name in wanted:
        source, target = home.parent / name, staging / name
        inside = ".." not in Path(name).parts and source.resolve().is_relative_to(home.parent.resolve())
        if inside and source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            copied.add(name)
    return copied


def _differences(folder: Path, sums: Mapping[str, str]) -> Iterator[str]:
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(sums.keys() | present):
        if name not in present:
            yield f"{name}: is listed in {SUMS_FILE} and was not written"
        elif name not in sums:
            yield f"{name}: was written and is not listed in {SUMS_FILE}"
        elif sha256_file(folder / name) != sums[name]:
            yield f"{name}: its bytes are not those that {SUMS_FILE} lists"
