"""From a recipe's `direction` section to directions: find, then rebuild from a dictionary where asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from surgery.dictionary.dictionary import Dictionary
from surgery.direction.difference_of_means import Contrast, difference_of_means
from surgery.direction.direction import Direction
from surgery.direction.encoded import FeatureContrast, feature_contrast, point_in
from surgery.direction.reconstruction import Reconstruction, open_wanted, reconstruct, with_examples
from surgery.direction.selection import Selection
from surgery.direction.weight_difference import weight_difference
from surgery.errors import DirectionError
from surgery.hook_point import HookPoint
from surgery.model.language_model import LanguageModel, chat_tokens
from surgery.model.prompts import PromptSet
from surgery.model.source import locate_model
from surgery.recipe.finding import Find, FindDifferenceOfMeans, FindFile, FindWeightDifference
from surgery.recipe.section import PromptSource
from surgery.recipe.sources import at_home

_CONTRASTED = 256
"""Prompts a side whose codes are compared; more hardly move a mean, and all of them are held at once."""


@dataclass(frozen=True)
class Finding:
    """One direction of a recipe: what is used, what it was rebuilt from, and how both were chosen."""

    name: str
    find: str
    direction: Direction
    original: Direction
    n_train: tuple[int, int] | None
    selection: Selection | None
    reconstruction: Reconstruction | None
    dictionary_sha256: str | None
    dictionary_commit: str | None = None
    """Of the Hub repository that the dictionary came from."""


@dataclass(frozen=True)
class Sources:
    """How names in a recipe are opened."""

    prompts: Callable[[PromptSource], PromptSet]
    resolve: Callable[[str], Path]


def find_direction(
    name: str,
    wanted: Find,
    model: Callable[[], LanguageModel],
    sources: Sources,
    *,
    d_model: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Finding:
    """Find one direction of a recipe.

    Args:
        name: of the direction.
        wanted: what the recipe says of it.
        model: gives the model where prompts are read by it; not called for a direction that is stored.
        sources: how names are opened.
        d_model: width of the model's stream.
        seed: of what is drawn.
        progress: called with (candidates done, candidates in all).

    Raises:
        DirectionError: none survives, or the one given does not fit the model.
    """
    dictionary = _dictionary(name, wanted, d_model)
    contrast, prompts = _find(wanted, model, sources, seed, progress)
    original = contrast.direction
    if original.d_model != d_model:
        raise DirectionError(
            f"direction {name!r} has {original.d_model} entries, and the model's d_model is {d_model};"
            " it belongs to another model"
        )
    direction, reconstruction = original, None
    if wanted.reconstruct is not None and dictionary is not None:
        codes = None
        if prompts:
            codes = contrast_of_codes(wanted, dictionary, original, model(), sources, seed=seed)
        direction, reconstruction = reconstruct(
            original,
            dictionary,
            wanted.reconstruct.k,
            method=wanted.reconstruct.method,
            seed=seed,
            refit=wanted.reconstruct.refit,
            contrast=codes,
        )
        if prompts:
            reconstruction = with_examples(reconstruction, dictionary, model(), prompts)
    return Finding(
        name,
        wanted.find,
        direction,
        original,
        contrast.n_train,
        contrast.selection,
        reconstruction,
        None if dictionary is None else dictionary.sha256,
        None if dictionary is None else dictionary.commit,
    )


def _dictionary(name: str, wanted: Find, d_model: int) -> Dictionary | None:
    """What the direction is to be rebuilt from: opened first, since finding can take long."""
    dictionary = None if wanted.reconstruct is None else open_wanted(wanted.reconstruct)
    if dictionary is not None and dictionary.d_model != d_model:
        raise DirectionError(
            f"direction {name!r}: dictionary {dictionary.name} has d_model {dictionary.d_model}, and the"
            f" model {d_model}; it was trained on another model"
        )
    return dictionary


def _find(
    wanted: Find,
    model: Callable[[], LanguageModel],
    sources: Sources,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[Contrast, list[str]]:
    if isinstance(wanted, FindFile):
        return Contrast(_from_file(wanted, sources)), []
    if isinstance(wanted, FindWeightDifference):
        return Contrast(_from_weights(wanted)), []
    positive, negative = sources.prompts(wanted.positive), sources.prompts(wanted.negative)
    contrast = difference_of_means(
        model(),
        positive,
        negative,
        wanted.select,
        seed=seed,
        off_negative_mean=wanted.off_negative_mean,
        progress=progress,
    )
    return contrast, [*positive.prompts, *negative.prompts]


def contrast_of_codes(
    wanted: Find,
    dictionary: Dictionary,
    original: Direction,
    model: LanguageModel,
    sources: Sources,
    *,
    seed: int,
) -> FeatureContrast | None:
    """How the prompts' codes differ, where there are prompts and a place in the stream to encode them at."""
    if not isinstance(wanted, FindDifferenceOfMeans) or dictionary.is_transcoder:
        return None
    if point_in(dictionary, model) is None:
        return None
    sides = [
        [chat_tokens(model, prompt) for prompt in sources.prompts(side).prompts[:_CONTRASTED]]
        for side in (wanted.positive, wanted.negative)
    ]
    position = original.origin.get("position", -1)
    position = position if isinstance(position, int) else -1
    return feature_contrast(dictionary, model, *sides, position=position, seed=seed)


def _from_file(wanted: FindFile, sources: Sources) -> Direction:
    found = Direction.load(sources.resolve(wanted.path), wanted.tensor)
    if wanted.layer is None:
        return found
    point = HookPoint(wanted.layer, wanted.hook_point or "resid_pre")
    return Direction(found.vector, found.norm, point, found.origin)


def _from_weights(wanted: FindWeightDifference) -> Direction:
    base, edited = (
        at_home(source) if source.endswith(".gguf") else locate_model(source, revision=revision).folder
        for source, revision in ((wanted.base, wanted.revision), (wanted.edited, wanted.edited_revision))
    )
    return weight_difference(wanted, base, edited)
