"""What a recovered direction is close to: directions saved before, and features of a dictionary.

Cosines are without sign, since an ablation along r is one along −r. With a dictionary two answers are given:
the single features with the largest |cosine|, and a sparse code of k features, whose cosine is that of the
rebuilt vector (`surgery.linalg.pursuit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgery.dictionary.dictionary import Dictionary, atoms_of
from surgery.errors import DictionaryError
from surgery.linalg.atoms import all_products
from surgery.linalg.pursuit import gradient_pursuit

Array = npt.NDArray[np.float64]
CODE_FEATURES = 2
"""Features of the sparse code that is printed."""
_LISTED = 5


@dataclass(frozen=True)
class Nearest:
    """One direction beside a dictionary.

    `features` are (number, cosine) of single features, the closest first; `code` the numbers of the sparse
    code, and `cosine` that of the vector it rebuilds.
    """

    dictionary: str
    features: tuple[tuple[int, float], ...]
    code: tuple[int, ...]
    cosine: float


def nearest_features(vector: Array, dictionary: Dictionary, *, k: int = CODE_FEATURES) -> Nearest:
    """The features of a dictionary that a unit direction (d_model,) is closest to.

    Raises:
        DictionaryError: the dictionary is of another width.
    """
    if dictionary.d_model != len(vector):
        raise DictionaryError(
            f"{dictionary.name}: its features have {dictionary.d_model} entries, and the recovered direction"
            f" {len(vector)}; it belongs to another model"
        )
    atoms = atoms_of(dictionary)
    cosines = all_products(atoms, vector[None])[0]
    order = np.argsort(-np.abs(cosines))[:_LISTED]
    code = gradient_pursuit(atoms, vector, k)
    rebuilt = code.coefficients @ atoms.unit(code.features)
    length = float(np.linalg.norm(rebuilt))
    return Nearest(
        dictionary.name,
        tuple((int(feature), float(cosines[feature])) for feature in order),
        tuple(map(int, code.features)),
        abs(float(rebuilt @ vector)) / length if length else 0.0,
    )


def cosines_with(vectors: Array, saved: Mapping[str, Array]) -> dict[str, tuple[float, ...]]:
    """|cosine| of each recovered direction (k, d_model) with each saved one of the same width."""
    found = {}
    for name, other in saved.items():
        if len(other) == vectors.shape[1]:
            unit = np.asarray(other, dtype=np.float64)
            unit = unit / np.linalg.norm(unit)
            found[name] = tuple(abs(float(row @ unit)) for row in vectors)
    return found
