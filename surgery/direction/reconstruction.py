"""A direction rebuilt from a few features of a sparse dictionary, beside what chance would give.

With unit-norm decoder rows d_i and a code (i, c_i) of k distinct features the rebuilt vector is v̂ = Σ c_i
d_i, signs
kept. Printed with it: cosine(v̂, v), ‖v̂‖ / ‖v‖ and FVU = ‖v − v̂‖² / ‖v‖² for each k, the cosine that k
random features reach by least squares, and the cosine that the same pursuit reaches on random directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from surgery.dictionary.dictionary import Dictionary, encode, unit_atoms
from surgery.direction.direction import Direction, unit_direction
from surgery.errors import DirectionError
from surgery.linalg.pursuit import SparseCode, gradient_pursuit
from surgery.model.language_model import LanguageModel, chat_tokens
from surgery.model.residuals import stream_at

CURVE = 8
DRAWS = 20
EXAMPLES = 3


@dataclass(frozen=True)
class Example:
    """A prompt and a feature's strongest activation in it."""

    prompt: str
    activation: float


@dataclass(frozen=True)
class Feature:
    """One feature of the code: its number, signed coefficient, cosine to the direction, strongest prompts."""

    number: int
    coefficient: float
    cosine: float
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class CurvePoint:
    """Quality at one k; the random columns are (mean, standard deviation) of a cosine over `DRAWS` draws."""

    k: int
    cosine: float
    norm_ratio: float
    fvu: float
    random_features: tuple[float, float]
    random_direction: tuple[float, float]


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

    @property
    def k(self) -> int:
        return self.point.k


def reconstruct(
    direction: Direction, dictionary: Dictionary, k: int, *, method: str, seed: int
) -> tuple[Direction, Reconstruction]:
    """Rebuild a direction from k distinct features.

    Raises:
        DirectionError: the widths differ, or the dictionary cannot give k features.
    """
    if dictionary.d_model != direction.d_model:
        raise DirectionError(
            f"dictionary {dictionary.name} has d_model {dictionary.d_model} and the direction"
            f" {direction.d_model};"
            " it was trained on another model"
        )
    if k > dictionary.n_features:
        raise DirectionError(
            f"k = {k}, but dictionary {dictionary.name} has {dictionary.n_features} features"
        )
    atoms = unit_atoms(dictionary)
    code = gradient_pursuit(atoms, direction.vector, k)
    rng = np.random.default_rng(seed)
    sizes = sorted({*range(1, min(CURVE, dictionary.n_features) + 1), k})
    curve = tuple(_curve_point(atoms, direction.vector, size, rng) for size in sizes)
    rebuilt = unit_direction(
        code.coefficients @ atoms[code.features],
        direction.hook_point,
        {
            **direction.origin,
            "reconstructed_from": dictionary.name,
            "features": code.features.tolist(),
            "coefficients": code.coefficients.tolist(),
        },
    )
    rebuilt = Direction(rebuilt.vector, rebuilt.norm * direction.norm, rebuilt.hook_point, rebuilt.origin)
    features = tuple(
        Feature(int(number), float(coefficient), float(atoms[number] @ direction.vector), ())
        for number, coefficient in zip(code.features, code.coefficients, strict=True)
    )
    point = next(each for each in curve if each.k == k)
    note = _hook_point_note(direction, dictionary)
    return rebuilt, Reconstruction(
        dictionary.name, dictionary.n_features, method, point, curve, features, note
    )


def with_examples(
    reconstruction: Reconstruction, dictionary: Dictionary, model: LanguageModel, prompts: Sequence[str]
) -> Reconstruction:
    """Add to each feature the prompts in which it is strongest, over every position of the prompt."""
    if dictionary.hook_point is None or not prompts:
        return reconstruction
    numbers = [feature.number for feature in reconstruction.features]
    strongest = np.stack(
        [
            encode(dictionary, stream)[:, numbers].max(axis=0)
            for stream in stream_at(
                model, [chat_tokens(model, prompt) for prompt in prompts], dictionary.hook_point
            )
        ]
    )  # (prompts, k)
    features = tuple(
        Feature(feature.number, feature.coefficient, feature.cosine, _top(strongest[:, column], prompts))
        for column, feature in enumerate(reconstruction.features)
    )
    return Reconstruction(
        reconstruction.dictionary,
        reconstruction.n_features,
        reconstruction.method,
        reconstruction.point,
        reconstruction.curve,
        features,
        reconstruction.note,
    )


def _top(activations: np.ndarray, prompts: Sequence[str]) -> tuple[Example, ...]:
    order = np.argsort(-activations, kind="stable")[:EXAMPLES]
    return tuple(Example(prompts[row], float(activations[row])) for row in order if activations[row] > 0)


def _curve_point(atoms: np.ndarray, vector: np.ndarray, k: int, rng: np.random.Generator) -> CurvePoint:
    cosine, norm_ratio, fvu = _quality(atoms, vector, gradient_pursuit(atoms, vector, k))
    chance_features = [_random_features_cosine(atoms, vector, k, rng) for _ in range(DRAWS)]
    chance_directions = []
    for drawn in rng.standard_normal((DRAWS, vector.shape[0])):
        chance_directions.append(_quality(atoms, drawn, gradient_pursuit(atoms, drawn, k))[0])
    return CurvePoint(k, cosine, norm_ratio, fvu, _spread(chance_features), _spread(chance_directions))


def _quality(atoms: np.ndarray, vector: np.ndarray, code: SparseCode) -> tuple[float, float, float]:
    target = np.asarray(vector, dtype=np.float64)
    rebuilt = code.coefficients @ atoms[code.features].astype(np.float64)
    length, rebuilt_length = np.linalg.norm(target), np.linalg.norm(rebuilt)
    fvu = float(np.sum((target - rebuilt) ** 2) / length**2)
    return float(target @ rebuilt / (length * rebuilt_length)), float(rebuilt_length / length), fvu


def _random_features_cosine(atoms: np.ndarray, vector: np.ndarray, k: int, rng: np.random.Generator) -> float:
    chosen = atoms[rng.choice(atoms.shape[0], size=k, replace=False)].astype(np.float64)
    fitted = np.linalg.lstsq(chosen.T, np.asarray(vector, dtype=np.float64), rcond=None)[0] @ chosen
    length = np.linalg.norm(fitted)
    return float(vector @ fitted / (length * np.linalg.norm(vector))) if length > 0 else 0.0


def _spread(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values))


def _hook_point_note(direction: Direction, dictionary: Dictionary) -> str | None:
    if dictionary.hook_point is None or direction.hook_point is None:
        return (
            "the dictionary or the direction does not say its hook point, so their fit could not be checked"
        )
    if not dictionary.hook_point.same_stream(direction.hook_point):
        return f"the direction is from {direction.hook_point}, the dictionary from {dictionary.hook_point}"
    return None
