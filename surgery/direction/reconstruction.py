"""A direction rebuilt from a few features of a sparse dictionary, beside what chance would give.

With unit-norm decoder rows d_i and a code (i, c_i) of k distinct features the rebuilt vector is v̂ = Σ c_i
d_i, signs kept. Printed with it: cosine(v̂, v), ‖v̂‖ / ‖v‖ and FVU = ‖v − v̂‖² / ‖v‖² for each k, the cosine
that k random features reach by least squares, the cosine that the same method reaches on random directions
(of the encoded difference, on random splits of its prompts), and which features the other methods choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from surgery.dictionary.coding import METHODS, CodePath
from surgery.dictionary.dictionary import Dictionary, unit_rows
from surgery.dictionary.facts import Facts, parse_hook_point
from surgery.dictionary.source import open_dictionary
from surgery.direction.agreement import Agreement, agreements
from surgery.direction.direction import Direction, unit_direction
from surgery.direction.encoded import ENCODED, FeatureContrast
from surgery.direction.examples import Example as Example
from surgery.direction.examples import strongest_prompts
from surgery.direction.quality import Coding, code_quality, coded_path, quality_curve
from surgery.direction.quality import CurvePoint as CurvePoint
from surgery.errors import DirectionError
from surgery.linalg.atoms import SparseCode
from surgery.model.language_model import LanguageModel
from surgery.recipe.finding import Reconstruct

CURVE = 8
_EXACT = 1e-20


@dataclass(frozen=True)
class Feature:
    """One feature of the code: its number, signed coefficient, cosine to the direction, strongest prompts."""

    number: int
    coefficient: float
    cosine: float
    examples: tuple[Example, ...]
    auroc: float | None = None
    """How well its activation tells positive from negative prompts, where both were encoded."""


@dataclass(frozen=True)
class Reconstruction:
    """What a direction was rebuilt from, and how well."""

    dictionary: str
    n_features: int
    method: str
    point: CurvePoint
    curve: tuple[CurvePoint, ...]
    features: tuple[Feature, ...]
    note: str | None
    agreement: tuple[Agreement, ...] = ()

    @property
    def k(self) -> int:
        return self.point.k

    @property
    def chance(self) -> str:
        """What the column `random_direction` is the cosine of: a random direction, or a random split."""
        return "random split" if self.method == ENCODED else "random direction"


def open_wanted(wanted: Reconstruct) -> Dictionary:
    """The dictionary that a recipe names, with the facts it gives.

    Raises:
        SourceError: there is none under that name.
        DictionaryError: it cannot be read exactly.
    """
    said = wanted.facts.model_dump(exclude_none=True) if wanted.facts is not None else {}
    for name in {"hook_point", "output_point"} & said.keys():
        said[name] = parse_hook_point(said[name])
    return open_dictionary(wanted.dictionary, revision=wanted.revision, path=wanted.path, facts=Facts(**said))


def reconstruct(
    direction: Direction,
    dictionary: Dictionary,
    k: int,
    *,
    method: str,
    seed: int,
    refit: bool = False,
    contrast: FeatureContrast | None = None,
) -> tuple[Direction, Reconstruction]:
    """Rebuild a direction from k distinct features.

    Args:
        method: one of `METHODS`, or `encoded_difference`.
        refit: give the features their least-squares coefficients.
        contrast: the codes of two sets of prompts; `encoded_difference` needs it, every method reports it.

    Raises:
        DirectionError: the widths differ, or the dictionary cannot give k features.
    """
    _check_fit(direction, dictionary, k, method, contrast)
    sizes = sorted({*range(1, min(CURVE, dictionary.n_features) + 1), k})
    coding = Coding(method, refit, contrast)
    path = coded_path(dictionary, direction.vector, sizes[-1], coding)
    if len(path) < k and not _is_exact(dictionary, direction, path):
        raise DirectionError(
            f"{method} finds {len(path)} features of {dictionary.name} for this direction, and k is"
            f" {k}; use a smaller k or another method"
        )
    code = path[min(k, len(path)) - 1]
    curve = quality_curve(direction.vector, dictionary, path, sizes, coding, seed=seed)
    return _rebuilt(direction, dictionary, code), Reconstruction(
        dictionary.name,
        dictionary.n_features,
        method,
        next(each for each in curve if each.k == k),
        curve,
        _features(direction, dictionary, code, contrast),
        _hook_point_note(direction, dictionary),
        agreements(direction.vector, dictionary, code, coding),
    )


def rebuilt_directions(
    direction: Direction,
    dictionary: Dictionary,
    k: int,
    *,
    method: str,
    refit: bool = False,
    contrast: FeatureContrast | None = None,
) -> list[Direction]:
    """The direction rebuilt from 1, 2, … k features, and nothing measured; arguments as of `reconstruct`.

    Shorter than k where fewer features rebuild it exactly, or the method finds no more.

    Raises:
        DirectionError: as of `reconstruct`, or the method finds no feature at all.
    """
    _check_fit(direction, dictionary, k, method, contrast)
    path = coded_path(dictionary, direction.vector, k, Coding(method, refit, contrast))
    if not path:
        raise DirectionError(f"{method} finds no feature of {dictionary.name} for this direction")
    return [_rebuilt(direction, dictionary, code) for code in path]


def with_examples(
    reconstruction: Reconstruction, dictionary: Dictionary, model: LanguageModel, prompts: Sequence[str]
) -> Reconstruction:
    """Add to each feature the prompts in which it is strongest, over every position of the prompt."""
    numbers = [feature.number for feature in reconstruction.features]
    found = strongest_prompts(dictionary, model, prompts, numbers)
    features = tuple(
        replace(feature, examples=examples)
        for feature, examples in zip(reconstruction.features, found, strict=True)
    )
    return replace(reconstruction, features=features)


def _check_fit(
    direction: Direction, dictionary: Dictionary, k: int, method: str, contrast: FeatureContrast | None
) -> None:
    if dictionary.d_model != direction.d_model:
        raise DirectionError(
            f"dictionary {dictionary.name} has d_model {dictionary.d_model} and the direction"
            f" {direction.d_model}; it was trained on another model"
        )
    if k > dictionary.n_features:
        raise DirectionError(
            f"k = {k}, but dictionary {dictionary.name} has {dictionary.n_features} features; lower k"
        )
    if method == ENCODED and contrast is None:
        raise DirectionError(
            "the encoded difference is taken between two sets of prompts at the dictionary's hook point, and"
            " there are none here, or no such place; use another method"
        )
    if method != ENCODED and method not in METHODS:
        raise DirectionError(f"no method is called {method!r}; known: {', '.join([*METHODS, ENCODED])}")


def _is_exact(dictionary: Dictionary, direction: Direction, path: CodePath) -> bool:
    return bool(path) and code_quality(dictionary, direction.vector, path[-1])[2] < _EXACT


def _rebuilt(direction: Direction, dictionary: Dictionary, code: SparseCode) -> Direction:
    rebuilt = unit_direction(
        code.coefficients @ unit_rows(dictionary, code.features),
        direction.hook_point,
        {
            **direction.origin,
            "reconstructed_from": dictionary.name,
            "features": code.features.tolist(),
            "coefficients": code.coefficients.tolist(),
        },
    )
    return Direction(rebuilt.vector, rebuilt.norm * direction.norm, rebuilt.hook_point, rebuilt.origin)


def _features(
    direction: Direction, dictionary: Dictionary, code: SparseCode, contrast: FeatureContrast | None
) -> tuple[Feature, ...]:
    cosines = unit_rows(dictionary, code.features) @ direction.vector.astype(np.float64)
    return tuple(
        Feature(
            int(number),
            float(coefficient),
            float(cosine),
            (),
            None if contrast is None else float(contrast.auroc[number]),
        )
        for number, coefficient, cosine in zip(code.features, code.coefficients, cosines, strict=True)
    )


def _hook_point_note(direction: Direction, dictionary: Dictionary) -> str | None:
    stands = dictionary.writes
    if stands is None or direction.hook_point is None:
        return (
            "the dictionary or the direction does not say its hook point, so their fit could not be checked"
        )
    if stands.same_stream(direction.hook_point):
        return None
    verb = "writes" if dictionary.is_transcoder else "is from"
    return f"the direction is from {direction.hook_point}, the dictionary {verb} {stands}"
