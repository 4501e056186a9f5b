"""A recipe at several settings: how behaviour goes with the number of features, the strength, or the layer.

Nothing is written but numbers: every setting runs as hooks in the base model (which equals the edited
weights, see the laws of the edit), on the recipe's own suites, beside the unedited model, a random direction,
the direction before it was rebuilt, and a skyline where one is given.

    k          the direction rebuilt from 1, 2, … features by the recipe's method
    strength   every step's strength (of an ablation), or multiple of its length (of an addition)
    layer      the difference of means taken at each layer instead, at its input or output as the recipe has
               it, not rebuilt: a dictionary belongs to one layer. A layer at which there is no difference is
               left out, and said to be

Every point is kept under the hash of what it was measured from: weights, directions, steps, prompts, seed. A
sweep that was stopped goes on where it stood, and one that is run again measures nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from surgery.artefacts import resolved
from surgery.direction.direction import Direction
from surgery.direction.find import Finding, Sources
from surgery.edit.runtime import running
from surgery.errors import OutputError, RecipeError
from surgery.hook_point import to_text
from surgery.preparation import Observer, Prepared, Silent, prepare, remembering
from surgery.recipe import LoadedRecipe
from surgery.recipe.finding import FindDifferenceOfMeans
from surgery.recipe.verifying import Gate, Verify
from surgery.report.sweep import (
    Axis,
    Point,
    Sweep,
    append_point,
    measured_rows,
    read_points,
    with_every_row,
)
from surgery.sweep.settings import Setting, compared_with, settings_of
from surgery.verify.measurement import Measurement, measure
from surgery.verify.verification import compare


def sweep(
    loaded: LoadedRecipe,
    axis: Axis,
    values: Sequence[float],
    folder: Path,
    *,
    skyline: Direction | None = None,
    observer: Observer | None = None,
) -> Sweep:
    """Measure a recipe at each value, keeping every point in `folder` as soon as it is there.

    Args:
        values: numbers of features, strengths, or layers.
        skyline: put in place of every direction of the recipe, as the best that could be had.

    Raises:
        RecipeError: the recipe has nothing to measure, or nothing that the axis varies.
        OutputError: the folder cannot be made or written.
    """
    observer = observer or Silent()
    _check(loaded, axis)
    with _kept(folder):
        prepared = prepare(loaded, observer)
        sources = Sources(prompts=remembering(loaded, prepared.prompts), resolve=loaded.resolve)
        lines = compared_with(prepared, skyline)
        wanted, left_out = settings_of(prepared, sources, axis, values)
        observer.stage("sweep")
        points = _measured(prepared, [*lines, *wanted], folder, observer)
    title = f"{loaded.name}: {loaded.recipe.model.source}"
    return Sweep(title, axis, tuple(points[len(lines) :]), tuple(points[: len(lines)]), left_out)


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Make a folder first of all, since a long run must not end at that; take it away if nothing came into
    it."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}); name another --out") from error
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # it holds points
                folder.rmdir()
        raise


def _measured(
    prepared: Prepared, settings: Sequence[Setting], folder: Path, observer: Observer
) -> list[Point]:
    """The point of each setting: as the folder has it, or measured and put there."""
    content, known = resolved(prepared), read_points(folder)
    base: Measurement | None = None
    points = []
    for number, setting in enumerate(settings):
        key = _key(prepared, setting, content)
        if key not in known:
            if base is None:
                base = measure(prepared.model, prepared.suites, side="base", progress=observer.advance)
            known[key] = _measure(prepared, setting, key, base)
            append_point(folder, known[key])
        # The same numbers may have been kept under another name, as k = 2 by an earlier axis.
        points.append(replace(known[key], name=setting.name, value=setting.value))
        observer.advance(number + 1, len(settings), "settings")
    return with_every_row(points)


def _check(loaded: LoadedRecipe, axis: Axis) -> None:
    recipe = loaded.recipe
    if not any(
        getattr(recipe.verify, name) for name in type(recipe.verify).model_fields if name != "control"
    ):
        raise RecipeError("a sweep measures what the recipe's 'verify' names, and this one names nothing")
    if axis == "k" and not any(wanted.reconstruct for wanted in recipe.direction.values()):
        raise RecipeError("a sweep over k needs a direction with 'reconstruct', and this recipe has none")
    if axis == "layer" and not all(
        isinstance(each, FindDifferenceOfMeans) for each in recipe.direction.values()
    ):
        raise RecipeError("a sweep over layers needs directions that are found as a difference of means")


def _measure(prepared: Prepared, setting: Setting, key: str, base: Measurement) -> Point:
    with running(prepared.model, setting.steps, setting.directions):
        edited = measure(prepared.model, prepared.suites, side="edited", reference=base)
    found = compare(base, edited, [], _without_gates(prepared.recipe.verify), seed=prepared.recipe.seed)
    return Point(
        key=key,
        name=setting.name,
        value=setting.value,
        cosine=_cosine(prepared.findings, setting.directions) if setting.steps else None,
        directions={name: _described(direction) for name, direction in setting.directions.items()},
        rows=measured_rows(found.rows),
    )


def _cosine(findings: Sequence[Finding], directions: Mapping[str, Direction]) -> float | None:
    if len(findings) != 1:
        return None
    original = findings[0].original.vector.astype(np.float64)
    return float(original @ directions[findings[0].name].vector.astype(np.float64))


def _described(direction: Direction) -> dict[str, Any]:
    origin = direction.origin
    point = direction.hook_point
    kept = {name: origin[name] for name in ("features", "coefficients") if name in origin}
    return {"sha256": direction.sha256, "hook_point": None if point is None else to_text(point), **kept}


def _key(prepared: Prepared, setting: Setting, content: Mapping[str, Any]) -> str:
    recipe = prepared.recipe
    measured = {
        "model": content["model"],
        "prompts": {name: prompts.sha256 for name, prompts in sorted(prepared.prompts.items())},
        "verify": _without_gates(recipe.verify).model_dump(mode="json"),
        "steps": [step.model_dump(mode="json") for step in setting.steps],
        "directions": {name: (each.sha256, each.norm) for name, each in sorted(setting.directions.items())},
        "seed": recipe.seed,
        "precision": [str(prepared.model.network.dtype), content["versions"].get("surgery")],
    }
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def _without_gates(verify: Verify) -> Verify:
    """The same suites without limits, which say nothing of what is measured."""
    suites = {
        name: section.model_copy(update={key: None for key, value in section if isinstance(value, Gate)})
        for name, section in verify
        if section is not None and not isinstance(section, int)
    }
    return verify.model_copy(update=suites)
