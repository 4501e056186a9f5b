"""Which features the other methods choose for the same direction at the same k, and how close they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surgery.dictionary.coding import METHODS
from surgery.dictionary.dictionary import Dictionary
from surgery.direction.encoded import ENCODED
from surgery.direction.quality import Coding, code_quality, coded_path
from surgery.linalg.atoms import SparseCode


@dataclass(frozen=True)
class Agreement:
    """What another method chose at the same k: its features, its cosine, how many are the same."""

    method: str
    features: tuple[int, ...]
    cosine: float
    shared: int


def agreements(
    vector: np.ndarray, dictionary: Dictionary, code: SparseCode, coding: Coding
) -> tuple[Agreement, ...]:
    """Every other method's choice for a vector (d_model,), in the order of `METHODS`.

    Those that find nothing are left out, and the encoded difference where there are no prompts for it.

    Args:
        code: what `coding` found.
    """
    names = [*METHODS, *([ENCODED] if coding.contrast is not None else [])]
    chosen, found = set(code.features.tolist()), []
    for name in names:
        if name == coding.method:
            continue
        other = Coding(name, contrast=coding.contrast)
        path = coded_path(dictionary, vector, len(code.features), other)
        if path:
            numbers = tuple(int(number) for number in path[-1].features)
            cosine = code_quality(dictionary, vector, path[-1])[0]
            found.append(Agreement(name, numbers, cosine, len(chosen & set(numbers))))
    return tuple(found)
