"""A direction from two sets of weights: what an edited checkpoint's writers no longer write alike.

For every writer (residual axis first) Δ = B − A; its leading left vectors u_1 … u_4 come from a sketch, and
the components are the eigenvectors of Σ w u uᵀ over all writers, w the share of ‖Δ‖² that lies along u.
An edit that removed one direction everywhere is the first component, with an agreement near 1; what differs
from writer to writer (rounding, a fine-tune) spreads over many.

`early_mlp` is the variant of the experiment that this tool grew from: Δ of the MLP outputs of the first two
blocks side by side, (d_model, 2 d_mlp), and of its singular vectors on the residual side the second, because
the first was taken for quantisation error. It is kept for comparison and labelled.

Sources are safetensors checkpoints, or two GGUF files in F32, F16, BF16 or Q8_0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.gguf import GgufFile, open_gguf, read_rows
from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.numbers import Array as Wide
from surgery.checkpoint.pair import Slot, by_matrix, same_bytes, slot_of, walk_pair
from surgery.direction.direction import Direction, unit_direction
from surgery.errors import DirectionError
from surgery.linalg.sketch import shared_subspace, spectrum_of
from surgery.linalg.units import ordered_basis
from surgery.model.anatomy import Writer, read_anatomy
from surgery.model.families.table import match_pattern
from surgery.model.gains import in_stream, whole_gain
from surgery.recipe.finding import FindWeightDifference

Array = npt.NDArray[np.float64]
Lines = Iterator[tuple[int, Wide]]
"""Tiles of Δ: the number of their first line, and (count, length) values."""

_COLUMNS, _VECTORS, _LISTED, _ROWS = 12, 4, 8, 256
_GGUF_WRITERS = (
    ("token_embd.weight", "embedding", 1),
    ("blk.{layer}.attn_output.weight", "attention_out", 0),
    ("blk.{layer}.ffn_down.weight", "mlp_out", 0),
)
_GGUF_FAMILIES = frozenset(
    {"llama", "qwen2", "qwen3", "phi3", "mistral3", "gemma", "stablelm", "granite", "smollm3"}
)
"""Architectures in which nothing stands between these tensors and the stream."""


@dataclass(frozen=True)
class Change:
    """The difference of one writer, not yet read."""

    tensor: str
    role: str
    layer: int | None
    axis: int
    shape: tuple[int, ...]
    gain: Array | None
    first: Slot | GgufFile
    second: Slot | GgufFile


def weight_difference(wanted: FindWeightDifference, base: Path, edited: Path) -> Direction:
    """Find the direction that an edit took out of a checkpoint.

    Args:
        wanted: which variant, and which of its components.
        base: the unedited checkpoint (folder), or a GGUF file.
        edited: the edited one, of the same kind.

    Raises:
        DirectionError: the writers are the same in both, or do not belong together.
        AnatomyError: the family's writers are not known.
    """
    changes, readers = _gguf_changes(base, edited) if base.is_file() else _changes(base, edited)
    if not changes:
        raise DirectionError(f"{edited}: every writer is the same as in {base}, so there is no difference")
    if wanted.variant == "early_mlp":
        return _early_mlp(changes, wanted.component)
    vectors, weights, tensors = [], [], []
    for change in changes:
        spectrum = spectrum_of(_sketch(change))
        rows, _ = ordered_basis(in_stream(spectrum.vectors.T[:_VECTORS], change.gain))
        vectors.append(rows)
        weights.append(spectrum.values[: len(rows)] ** 2 / np.sum(spectrum.values**2))
        tensors += [change.tensor] * len(rows)
    return _component(np.concatenate(vectors).T, np.concatenate(weights), tensors, wanted.component, readers)


def _component(vectors: Array, weights: Array, tensors: list[str], number: int, readers: str) -> Direction:
    rows, shares = shared_subspace(vectors, weights)
    if number >= len(rows):
        raise DirectionError(f"component {number}: there are only {len(rows)} (counted from 0)")
    listed = [_describe(row, float(share), vectors, tensors) for row, share in zip(rows, shares, strict=True)]
    origin = {
        "find": "weight_difference",
        "variant": "shared",
        "component": number,
        "writers_changed": len(set(tensors)),
        "readers": readers,
        "components": listed[:_LISTED],
    }
    return unit_direction(rows[number], origin=origin)


def _describe(row: Array, share: float, vectors: Array, tensors: list[str]) -> dict[str, float]:
    """Share of all weight, median agreement over writers, and how near the component is to one coordinate."""
    cosines = (vectors.T @ row) ** 2
    by_writer = [
        float(np.sqrt(cosines[[name == each for each in tensors]].sum())) for name in dict.fromkeys(tensors)
    ]
    return {
        "share": share,
        "agreement": float(np.median(by_writer)),
        "largest_coordinate": float(np.abs(row).max()),
    }


def _early_mlp(changes: list[Change], number: int) -> Direction:
    early = [
        each for each in changes if each.role == "mlp_out" and each.layer in (0, 1) and len(each.shape) == 2
    ]
    if not early:
        raise DirectionError(
            "variant early_mlp: the MLP outputs of the first two blocks are the same in both"
        )
    gram = np.zeros((early[0].shape[early[0].axis],) * 2)
    for change in early:
        whole = np.concatenate([tile for _, tile in _lines(change)]).astype(np.float64)
        gram += whole.T @ whole if change.axis else whole @ whole.T
    values, vectors = np.linalg.eigh(gram)
    origin = {
        "find": "weight_difference",
        "variant": "early_mlp",
        "component": number,
        "tensors": [each.tensor for each in early],
        "singular_values": [float(value) for value in np.sqrt(np.maximum(values[::-1][:_LISTED], 0))],
    }
    return unit_direction(vectors[:, -1 - number], origin=origin)


def _changes(base: Path, edited: Path) -> tuple[list[Change], str]:
    first, second = open_checkpoint(base), open_checkpoint(edited)
    anatomy = read_anatomy(first.config, first.shapes)
    different = [name for name, shape in first.shapes.items() if second.shapes.get(name) != shape]
    if different:
        raise DirectionError(f"{edited}: {different[0]} is missing or has another shape than in {base}")
    writers = [
        writer for writer in anatomy.writers if not writer.bias and not _same(first, second, writer.tensor)
    ]
    same = sum(_same(first, second, name) for name in anatomy.readers)
    readers = f"{same} of {len(anatomy.readers)} readers identical"
    return [_change(first, second, writer) for writer in writers], readers


def _change(first: Checkpoint, second: Checkpoint, writer: Writer) -> Change:
    gain = None
    if writer.gain is not None:
        gain = whole_gain(writer.gain, first)
    slots = (slot_of(each, writer.tensor) for each in (first, second))
    shape = first.shapes[writer.tensor]
    return Change(writer.tensor, writer.role, writer.layer, writer.residual_axis, shape, gain, *slots)


def _same(first: Checkpoint, second: Checkpoint, name: str) -> bool:
    return same_bytes(slot_of(first, name), slot_of(second, name))


def _gguf_changes(base: Path, edited: Path) -> tuple[list[Change], str]:
    first, second = open_gguf(base), open_gguf(edited)
    family = first.keys.get("general.architecture")
    if family not in _GGUF_FAMILIES:
        raise DirectionError(
            f"{base}: architecture {family!r} is not among those whose GGUF tensors are known to write to the"
            f" stream directly ({', '.join(sorted(_GGUF_FAMILIES))}); give the safetensors checkpoints"
        )
    found = []
    for name, tensor in first.tensors.items():
        other = second.tensors.get(name)
        for pattern, role, axis in _GGUF_WRITERS:
            match = match_pattern(pattern, name)
            if match is not None and other is not None and other.shape == tensor.shape:
                found.append(Change(name, role, match.layer, axis, tensor.shape, None, first, second))
    changed = [each for each in found if any(bool(tile.any()) for _, tile in _lines(each))]
    return changed, "not compared (GGUF)"


def _lines(change: Change) -> Lines:
    """Tiles of Δ in file order."""
    if isinstance(change.first, Slot) and isinstance(change.second, Slot):
        for tile in walk_pair(change.first, change.second):
            yield tile.first, tile.after - tile.before
        return
    assert isinstance(change.first, GgufFile) and isinstance(change.second, GgufFile)
    one, other = (file.tensors[change.tensor] for file in (change.first, change.second))
    for first in range(0, change.shape[0], _ROWS):
        count = min(_ROWS, change.shape[0] - first)
        before, after = (
            read_rows(change.first, one, first, count),
            read_rows(change.second, other, first, count),
        )
        yield first, after - before


def _sketch(change: Change) -> Array:
    """ΔΩ with the residual axis first, (d_model, columns)."""
    d, random = change.shape[change.axis], np.random.default_rng(0)
    sketch, drawn, omega = np.zeros((d, _COLUMNS)), -1, np.empty((0, _COLUMNS), np.float32)
    for first, tile in _lines(change):
        if change.axis == len(change.shape) - 1:
            sketch += tile.T @ random.standard_normal((len(tile), _COLUMNS), dtype=tile.dtype)
            continue
        for matrix, row, ours in by_matrix(first, len(tile), d):  # fused experts: matrix after matrix
            if matrix != drawn:
                drawn, omega = matrix, random.standard_normal((tile.shape[1], _COLUMNS), dtype=tile.dtype)
            sketch[row : row + ours.stop - ours.start] += tile[ours] @ omega
    return sketch
