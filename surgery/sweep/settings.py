"""What a sweep measures: for each value of its axis the directions and the steps that stand for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from surgery.direction.direction import Direction
from surgery.direction.find import Sources, contrast_of_codes, find_direction
from surgery.direction.reconstruction import open_wanted, rebuilt_directions
from surgery.edit.runtime import random_directions
from surgery.errors import DirectionError, RecipeError
from surgery.preparation import Prepared
from surgery.recipe.editing import Ablate, Add, Scale
from surgery.recipe.finding import FindDifferenceOfMeans, SelectFixed
from surgery.report.sweep import Axis


@dataclass(frozen=True)
class Setting:
    """What one point is measured with."""

    name: str
    value: float | None
    directions: Mapping[str, Direction]
    steps: tuple[Ablate | Add, ...]


def compared_with(prepared: Prepared, skyline: Direction | None) -> list[Setting]:
    """The unedited model, a random direction, the direction before it was rebuilt, and a skyline if any."""
    steps = tuple(prepared.recipe.edit.steps)
    originals = {finding.name: finding.original for finding in prepared.findings}
    lines = [
        Setting("unedited", None, originals, ()),
        Setting("random direction", None, random_directions(originals, prepared.recipe.seed), steps),
        Setting("original direction", None, originals, steps),
    ]
    if skyline is not None:
        lines.append(Setting("skyline", None, dict.fromkeys(originals, skyline), steps))
    return lines


def settings_of(
    prepared: Prepared, sources: Sources, axis: Axis, values: Sequence[float]
) -> tuple[list[Setting], tuple[str, ...]]:
    """What is to be measured at the values of an axis, and what cannot be, with its reason.

    Raises:
        RecipeError: the model has no such layer.
        DirectionError: there is no direction at any of the values.
    """
    steps = tuple(prepared.recipe.edit.steps)
    if axis == "layer":
        return _layers(prepared, sources, [int(value) for value in values])
    if axis == "strength":
        scaled = [tuple(_scaled(step, value) for step in steps) for value in values]
        return [
            Setting(f"strength {value:g}", value, prepared.directions, each)
            for value, each in zip(values, scaled, strict=True)
        ], ()
    return _rebuilt(prepared, sources, [int(value) for value in values])


def _rebuilt(
    prepared: Prepared, sources: Sources, sizes: Sequence[int]
) -> tuple[list[Setting], tuple[str, ...]]:
    """For each k every direction; one that the recipe does not rebuild stays as it is."""
    found = {size: {finding.name: finding.original for finding in prepared.findings} for size in sizes}
    left_out: dict[int, str] = {}
    for finding in prepared.findings:
        wanted = prepared.recipe.direction[finding.name]
        if wanted.reconstruct is None:
            continue
        dictionary, method = open_wanted(wanted.reconstruct), wanted.reconstruct.method
        path = rebuilt_directions(
            finding.original,
            dictionary,
            max(sizes),
            method=method,
            refit=wanted.reconstruct.refit,
            contrast=contrast_of_codes(
                wanted, dictionary, finding.original, prepared.model, sources, seed=prepared.recipe.seed
            ),
        )
        for size in sizes:
            if size > len(path):
                left_out[size] = f"k = {size}: {method} finds {len(path)} features for {finding.name!r}"
            else:
                found[size][finding.name] = path[size - 1]
    steps = tuple(prepared.recipe.edit.steps)
    settings = [Setting(f"k = {k}", float(k), found[k], steps) for k in sizes if k not in left_out]
    if not settings:
        raise DirectionError(left_out[sizes[0]])
    return settings, tuple(left_out.values())


def _layers(
    prepared: Prepared, sources: Sources, layers: Sequence[int]
) -> tuple[list[Setting], tuple[str, ...]]:
    n_layers = prepared.model.n_layers
    beyond = [layer for layer in layers if layer >= n_layers]
    if beyond:
        raise RecipeError(f"there is no layer {beyond[0]}: the model has layers 0 to {n_layers - 1}")
    settings: list[Setting] = []
    left_out: list[DirectionError] = []
    for layer in layers:
        try:
            directions = _at_layer(prepared, sources, layer)
        except DirectionError as error:
            left_out.append(error)
        else:
            steps = tuple(prepared.recipe.edit.steps)
            settings.append(Setting(f"layer {layer}", float(layer), directions, steps))
    if not settings:
        raise left_out[0]
    return settings, tuple(map(str, left_out))


def _at_layer(prepared: Prepared, sources: Sources, layer: int) -> dict[str, Direction]:
    found: dict[str, Direction] = {}
    for finding in prepared.findings:
        wanted = prepared.recipe.direction[finding.name]
        assert isinstance(wanted, FindDifferenceOfMeans)
        position, point = finding.original.origin.get("position", -1), finding.original.hook_point
        place = SelectFixed(
            layer=layer,
            hook_point="resid_post" if point is not None and point.site == "resid_post" else "resid_pre",
            position=position if isinstance(position, int) else -1,
        )
        moved = wanted.model_copy(update={"select": place, "reconstruct": None})
        found[finding.name] = find_direction(
            finding.name,
            moved,
            prepared.load_model,
            sources,
            d_model=prepared.anatomy.d_model,
            seed=prepared.recipe.seed,
        ).direction
    return found


def _scaled(step: Ablate | Add, value: float) -> Ablate | Add:
    if isinstance(step, Ablate):
        return step.model_copy(update={"strength": value})
    return step.model_copy(update={"scale": Scale(times=value)})
