"""A direction of the residual stream, and its file.

The file is safetensors with one float32 tensor (d_model,) a direction, unit length, and in its metadata under
`surgery` a JSON object: direction name → layer, hook point, length, origin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from surgery.checkpoint.header import read_header
from surgery.checkpoint.pair import Slot, read_slot
from surgery.dictionary.config import positive_number, table
from surgery.errors import CheckpointError, DirectionError
from surgery.hook_point import SITES, HookPoint


@dataclass(frozen=True)
class Direction:
    """A unit vector of the residual stream.

    Attributes:
        vector: (d_model,) float32, unit length.
        norm: length of the vector it was made from, in the stream's own units; what `scale: {times: 1}` adds.
        hook_point: where it was taken, None where nobody said.
        origin: how it was made, as plain data.
    """

    vector: np.ndarray
    norm: float = 1.0
    hook_point: HookPoint | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def d_model(self) -> int:
        return int(self.vector.shape[0])

    @property
    def sha256(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.vector, dtype="<f4").tobytes()).hexdigest()

    @classmethod
    def load(cls, path: str | Path, name: str | None = None) -> Direction:
        """Read one direction; `name` is needed where the file holds several. See `read_directions`."""
        directions = read_directions(Path(path))
        if name is None and len(directions) > 1:
            raise DirectionError(
                f"{path}: holds {len(directions)} directions ({', '.join(directions)}); name one"
                f" (--name {next(iter(directions))}; in a recipe tensor: {next(iter(directions))})"
            )
        if name is not None and name not in directions:
            raise DirectionError(f"{path}: no direction named {name!r}; it holds: {', '.join(directions)}")
        return directions[name] if name is not None else next(iter(directions.values()))

    def save(self, path: str | Path, name: str = "direction") -> None:
        """Write this direction alone to a safetensors file."""
        write_directions(Path(path), {name: self})


def unit_direction(
    vector: np.ndarray, hook_point: HookPoint | None = None, origin: Mapping[str, Any] | None = None
) -> Direction:
    """Normalise a vector (d_model,) to a direction that remembers its length.

    Raises:
        DirectionError: the vector is zero or holds a value that is not finite.
    """
    values = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(values))
    if not np.isfinite(length) or length == 0.0:
        raise DirectionError("the vector has no direction: it is zero or holds values that are not finite")
    return Direction((values / length).astype(np.float32), length, hook_point, dict(origin or {}))


def write_directions(path: Path, directions: Mapping[str, Direction]) -> None:
    """Write directions to one safetensors file."""
    from safetensors.numpy import save

    described = {name: _describe(direction) for name, direction in directions.items()}
    tensors = {name: np.ascontiguousarray(direction.vector) for name, direction in directions.items()}
    # One key only: safetensors writes the keys of its metadata in no fixed order, and the same run gives the
    # same bytes.
    path.write_bytes(save(tensors, metadata={"surgery": json.dumps(described, sort_keys=True)}))


def read_directions(path: Path) -> dict[str, Direction]:
    """Read every vector of a safetensors file, of this tool or any other.

    Raises:
        DirectionError: the file cannot be read, or a tensor in it is not a finite vector.
    """
    if not path.is_file():
        raise DirectionError(f"{path}: there is no such file")
    try:
        header = read_header(path)
        described = _described(header.metadata)
        tensors = {name: read_slot(Slot(path, header.tensors[name])) for name in sorted(header.tensors)}
    except (OSError, CheckpointError) as error:
        raise DirectionError(f"{path}: not a safetensors file of directions: {error}") from error
    return {
        name: _read_one(path, name, vector, table(described.get(name))) for name, vector in tensors.items()
    }


def _describe(direction: Direction) -> dict[str, Any]:
    point = direction.hook_point
    return {
        "layer": None if point is None else point.layer,
        "hook_point": None if point is None else point.site,
        "norm": direction.norm,
        "origin": dict(direction.origin),
    }


def _described(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        return table(json.loads(metadata.get("surgery", "{}")))
    except ValueError:
        return {}


def _read_one(path: Path, name: str, vector: np.ndarray, described: Mapping[str, Any]) -> Direction:
    if vector.ndim != 1:
        raise DirectionError(
            f"{path}: tensor {name!r} has shape {vector.shape}; a direction has one axis, d_model"
        )
    layer, site = described.get("layer"), described.get("hook_point")
    point = HookPoint(layer, site) if type(layer) is int and layer >= 0 and site in SITES else None
    origin = table(described.get("origin")) or {"file": path.name, "tensor": name}
    try:
        found = unit_direction(vector, point, origin)
    except DirectionError as error:
        raise DirectionError(f"{path}: tensor {name!r}: {error}") from error
    return replace(found, norm=positive_number(described.get("norm")) or found.norm)
