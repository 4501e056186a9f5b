"""What is known about two checkpoints before anybody says what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from surgery.compare.pairing import FileChange, Pair, Pairing
from surgery.compare.shared import Changed
from surgery.model.anatomy import Anatomy


def bias_of(weight: str) -> str:
    """The name of the bias beside a weight: `down_proj.bias` of `down_proj.weight`."""
    return weight.removesuffix("weight") + "bias"


@dataclass(frozen=True)
class Cast:
    """A tensor whose values are those of the first, rounded to another type; `through` names it."""

    pair: Pair
    through: str


@dataclass(frozen=True)
class Resized:
    """A tensor of another shape. `same_prefix`: only lines were added or taken away at its end."""

    pair: Pair
    same_prefix: bool


@dataclass(frozen=True)
class Evidence:
    """Everything that two checkpoints differ in.

    Attributes:
        identical: number of tensors with the same bytes.
        moved: number of tensors that stand in another file.
        opaque: changed tensors that cannot be read as numbers.
        anatomy: None where the family is not known; `why_no_anatomy` then says why.
        config: keys of config.json that say something else, with both values.
        untied: the tensor that only the second has and that is the first's tied embedding; None where none.
        new_biases: vectors (d_model,) that only the second adds to what a writer writes, by tensor.
    """

    pairing: Pairing
    identical: int
    moved: int
    cast: tuple[Cast, ...]
    opaque: tuple[Pair, ...]
    resized: tuple[Resized, ...]
    changed: tuple[Changed, ...]
    anatomy: Anatomy | None
    why_no_anatomy: str | None
    files: tuple[FileChange, ...]
    config: Mapping[str, tuple[Any, Any]]
    untied: str | None = None
    new_biases: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    @property
    def added_vectors(self) -> dict[str, npt.NDArray[np.float64]]:
        """Those of `new_biases` that reach the stream as they are, behind no norm."""
        writers = () if self.anatomy is None else self.anatomy.writers
        bare = {bias_of(each.tensor) for each in writers if each.gain is None}
        return {name: vector for name, vector in self.new_biases.items() if name in bare}

    @property
    def changed_readers(self) -> tuple[Changed, ...]:
        """Changed tensors that do not write to the residual stream."""
        return tuple(each for each in self.changed if each.writer is None)

    @property
    def lost_readers(self) -> tuple[str, ...]:
        """Readers of the first that the second does not have, or not in this shape."""
        gone = {entry.name for entry in self.pairing.removed}
        gone |= {each.pair.name for each in self.resized if not each.same_prefix}
        return () if self.anatomy is None else tuple(name for name in self.anatomy.readers if name in gone)

    @property
    def left_out(self) -> tuple[str, ...]:
        """Writers with the same bytes in both."""
        if self.anatomy is None:
            return ()
        touched = {each.name for each in self.changed} | {each.pair.name for each in self.resized}
        touched |= {each.pair.name for each in self.cast}
        return tuple(each.tensor for each in self.anatomy.writers if each.tensor not in touched)
