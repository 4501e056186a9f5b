"""What changed, as a PEFT adapter: for every changed matrix the best approximation in its own leading space.

With U the leading left vectors of Δ, from a sketch wider than the rank (Halko, Martinsson and Tropp 2011,
section 4.1), a second pass gives

    Δ ≈ B A,   B = U (d, rank),   A = UᵀΔ (rank, n)

which is exact up to rounding where Δ has that rank: an ablation of k directions, a merged adapter. For an
embedding the same factors are `lora_embedding_A`, `lora_embedding_B`. alpha / r is 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.pair import walk_pair
from surgery.compare.diff import Diff
from surgery.compare.lora import CONFIG, PREFIX, WEIGHTS
from surgery.compare.measure import View, measure
from surgery.compare.pairing import Pair
from surgery.compare.rank import MOST_RANK, measured_rank
from surgery.compare.reading import ABLATIONS
from surgery.compare.shared import Changed
from surgery.errors import EditError
from surgery.linalg.sketch import spectrum_of

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
_SPARE = 8


@dataclass(frozen=True)
class Factors:
    """One matrix: `left` U (d, rank), `right` UᵀΔ (rank, n), and the share of ‖Δ‖² they leave out."""

    tensor: str
    embedding: bool
    left: Array
    right: Array
    lost: float


@dataclass(frozen=True)
class ExtractedAdapter:
    """An adapter that turns A into B. `left_out` are changed tensors that no factors can express."""

    rank: int
    factors: tuple[Factors, ...]
    left_out: tuple[str, ...]

    @property
    def lost(self) -> float:
        """The largest share of any tensor's change that is not in the adapter."""
        return max((each.lost for each in self.factors), default=0.0)

    @property
    def n_bytes(self) -> int:
        """Of its weights on the disk: float32, every matrix padded to the one rank."""
        return 4 * self.rank * sum(len(each.left) + int(each.right.shape[1]) for each in self.factors)


def extract_adapter(diff: Diff, rank: int | None = None) -> ExtractedAdapter:
    """Take the change between two checkpoints apart into low-rank factors.

    Args:
        diff: the comparison.
        rank: the same for every tensor; None finds each tensor's own and fails where it is not low.

    Raises:
        EditError: nothing changed that factors could express, or a change is not low-rank.
    """
    matrices = [each for each in diff.evidence.changed if _is_linear(each)]
    left_out = [each.name for each in diff.evidence.changed if not _is_linear(each)]
    if not matrices:
        raise EditError("no matrix changed that a LoRA adapter could express; there is nothing to extract")
    factors = tuple(_factorise(each, rank if rank is not None else _own_rank(each)) for each in matrices)
    return ExtractedAdapter(max(each.left.shape[1] for each in factors), factors, tuple(left_out))


def write_extracted(adapter: ExtractedAdapter, folder: Path, *, base: str) -> None:
    """Write the adapter into an empty folder, in the layout that stock PEFT loads."""
    from safetensors.numpy import save

    tensors: dict[str, Floats] = {}
    for each in adapter.factors:
        left, right = _padded(each, adapter.rank)
        key = PREFIX + _module(each.tensor)
        names = (
            ("lora_embedding_A", "lora_embedding_B") if each.embedding else ("lora_A.weight", "lora_B.weight")
        )
        tensors[f"{key}.{names[0]}"], tensors[f"{key}.{names[1]}"] = right, left
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": adapter.rank,
        "lora_alpha": adapter.rank,
        "target_modules": [_module(each.tensor) for each in adapter.factors],
        "inference_mode": True,
    }
    ordered = {name: tensors[name] for name in sorted(tensors)}
    (folder / WEIGHTS).write_bytes(save(ordered, metadata={"format": "pt"}))
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")


def _is_linear(changed: Changed) -> bool:
    """Whether a tensor is the weight of a Linear (out, in), or of an embedding (vocabulary, d_model)."""
    measured, writer = changed.measured, changed.writer
    if len(measured.pair.before.entry.shape) != 2 or not changed.name.endswith(".weight"):
        return False
    return not measured.view.by_rows or (writer is not None and writer.role == "embedding")


def _own_rank(changed: Changed) -> int:
    reading = changed.reading
    if reading.form in ABLATIONS or reading.form == "low_rank":
        return max(1, reading.rank)
    found = measured_rank(changed.measured)
    if found is None:
        raise EditError(
            f"{changed.name}: its change is not of low rank (at most {MOST_RANK} was tried), so no adapter"
            " equals it; give --rank to approximate it"
        )
    return found


def _factorise(changed: Changed, rank: int) -> Factors:
    pair, view = changed.measured.pair, changed.measured.view
    rank = min(rank, view.d, view.n)
    wide = measure(pair, view.axis, columns=min(rank + _SPARE, view.d, view.n))
    left = np.linalg.qr(spectrum_of(wide.change).vectors[:, :rank])[0]
    right = _right_side(pair, view, left)
    energy = wide.numbers.energy
    lost = max(0.0, 1 - float(np.sum(right**2)) / energy) if energy else 0.0
    embedding = changed.writer is not None and changed.writer.role == "embedding"
    return Factors(changed.name, embedding, left, right, lost)


def _right_side(pair: Pair, view: View, left: Array) -> Array:
    """UᵀΔ, (rank, n), in one pass."""
    found = np.zeros((left.shape[1], view.n))
    for tile in walk_pair(pair.before, pair.after):
        change = tile.after.astype(np.float64) - tile.before
        here = slice(tile.first, tile.first + len(change))
        if view.by_rows:
            found[:, here] = (change @ left).T
        else:
            found += left[here].T @ change
    return found


def _padded(factors: Factors, rank: int) -> tuple[Floats, Floats]:
    """Both factors as float32 with zeros up to a common rank: PEFT wants one."""
    own = factors.left.shape[1]
    left = np.zeros((len(factors.left), rank), dtype=np.float32)
    right = np.zeros((rank, factors.right.shape[1]), dtype=np.float32)
    left[:, :own], right[:own] = factors.left, factors.right
    return left, right


def _module(tensor: str) -> str:
    return tensor.removesuffix(".weight")


def summary(adapter: ExtractedAdapter) -> Sequence[str]:
    """What was written, in sentences."""
    lines = [
        f"rank {adapter.rank}, {len(adapter.factors)} matrices; at most {100 * adapter.lost:.2g} % of a"
        " matrix's change, rounding included, is not in it"
    ]
    if adapter.left_out:
        lines.append(f"not in it, since factors cannot express them: {', '.join(adapter.left_out[:6])}")
    return lines
