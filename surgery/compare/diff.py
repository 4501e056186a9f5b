"""Two checkpoints compared, from their headers to a verdict.

    pair ─► compare bytes ─► measure what changed ─► read each change ─► pool directions ─► verdict

Both are streamed side by side, tensor by tensor; what stays in memory of a changed tensor is its numbers and,
for a writer, a sketch of 8 columns and some of its own, up to `SKETCH_BYTES` in all. Writers beyond that are
measured against the directions pooled so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.pair import read_slot, same_bytes, slot_of
from surgery.compare.evidence import Cast, Evidence, Resized, bias_of
from surgery.compare.judge import judge
from surgery.compare.lora import base_name, pair_adapter, read_bias
from surgery.compare.measure import measure
from surgery.compare.pairing import Pair, Pairing, compare_files, config_differences, pair_tensors
from surgery.compare.parallel import in_processes, in_threads
from surgery.compare.precision import can_measure, cast_type
from surgery.compare.reading import ABLATIONS, read_change
from surgery.compare.shared import Changed, SharedDirections, pool, read_gains, settled, without_sketches
from surgery.compare.verdict import Verdict
from surgery.errors import AnatomyError
from surgery.model.anatomy import Anatomy, Gain, Writer, read_anatomy

Array = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

SKETCH_BYTES = 256 << 20
FORKING_BYTES = 64 << 20
"""From so many bytes on processes are worth their start."""


@dataclass(frozen=True)
class Diff:
    """Two checkpoints, what differs between them, and what that means."""

    before: Checkpoint
    after: Checkpoint
    evidence: Evidence
    verdict: Verdict

    @property
    def same(self) -> bool:
        """Whether every tensor and every file that matters is the same."""
        found = self.evidence
        return not (
            found.changed
            or found.cast
            or found.opaque
            or found.resized
            or found.pairing.added
            or found.pairing.removed
            or any(file.matters for file in found.files)
        )


def compare_checkpoints(
    before: Checkpoint, after: Checkpoint, *, workers: int | None = None, progress: Progress | None = None
) -> Diff:
    """Say what changed between two checkpoints, and what kind of edit it was.

    Args:
        before, after: the checkpoints; neither is ever whole in memory.
        workers: how many at a time, by default one per available core.
        progress: called with (bytes done, bytes in all) of the second one.

    Raises:
        CheckpointError: a file is malformed or ends too early.
    """
    return _compare_pairs(before, after, pair_tensors(before, after), workers, progress)


def compare_adapter(
    before: Checkpoint, adapter: Path, *, workers: int | None = None, progress: Progress | None = None
) -> Diff:
    """Say what a LoRA adapter does to its base; see `compare_checkpoints`.

    Raises:
        CheckpointError: the adapter cannot be read, or does not fit this base.
    """
    return _compare_pairs(before, *pair_adapter(before, adapter), workers, progress)


def _compare_pairs(
    before: Checkpoint,
    after: Checkpoint,
    pairing: Pairing,
    workers: int | None,
    progress: Progress | None,
) -> Diff:
    anatomy, why = _anatomy(before)
    writers = {writer.tensor: writer for writer in anatomy.writers} if anatomy else {}
    gains = read_gains(before, tuple(writers.values()))
    outcomes = _Outcomes()
    total = sum(pair.after.entry.n_bytes for pair in pairing.pairs)
    done = 0
    spread = in_processes if total >= FORKING_BYTES else in_threads
    found = spread(lambda pair: _compare(pair, writers.get(pair.name), gains), pairing.pairs, workers)
    for pair, outcome in zip(pairing.pairs, found, strict=True):
        outcomes.add(pair, outcome)
        done += pair.after.entry.n_bytes
        if progress is not None:
            progress(done, total)
    evidence = Evidence(
        pairing=pairing,
        identical=outcomes.identical,
        moved=sum(pair.moved for pair in pairing.pairs),
        cast=tuple(outcomes.cast),
        opaque=tuple(outcomes.opaque),
        resized=tuple(outcomes.resized),
        changed=tuple(outcomes.changed),
        anatomy=anatomy,
        why_no_anatomy=why,
        files=compare_files(before, after) if after.headers else (),
        config=config_differences(before.config, after.config),
        untied=_untied(before, after, pairing, anatomy),
        new_biases=_new_biases(after, pairing, {bias_of(tensor) for tensor in writers}),
    )
    return Diff(before, after, evidence, judge(evidence))


_Outcome = Changed | Cast | Resized | Literal["identical", "opaque"]
"""What came of a pair."""


class _Outcomes:
    """What came of each pair, in order; sketches are given up beyond their budget."""

    def __init__(self) -> None:
        self.identical = 0
        self.cast: list[Cast] = []
        self.opaque: list[Pair] = []
        self.resized: list[Resized] = []
        self.changed: list[Changed] = []
        self._held = 0
        self._shared: SharedDirections | None = None

    def add(self, pair: Pair, outcome: _Outcome) -> None:
        if isinstance(outcome, Changed):
            self.changed.append(self._kept(outcome))
        elif isinstance(outcome, Cast):
            self.cast.append(outcome)
        elif isinstance(outcome, Resized):
            self.resized.append(outcome)
        elif outcome == "opaque":
            self.opaque.append(pair)
        else:
            self.identical += 1

    def _kept(self, changed: Changed) -> Changed:
        measured = changed.measured
        if changed.writer is None:
            bare = replace(changed.reading, directions=np.empty((0, measured.view.d)))
            return replace(changed, reading=bare, measured=without_sketches(measured))
        self._held += measured.before.nbytes + measured.change.nbytes + measured.sample.nbytes
        if self._held <= SKETCH_BYTES:
            return changed
        if self._shared is None:  # what is settled adds nothing to it
            self._shared = pool([each for each in self.changed if each.reading.form in ABLATIONS])
        return changed if self._shared is None else settled(changed, self._shared)


def _anatomy(checkpoint: Checkpoint) -> tuple[Anatomy | None, str | None]:
    try:
        return read_anatomy(checkpoint.config, checkpoint.shapes), None
    except AnatomyError as error:
        return None, str(error)


def _untied(before: Checkpoint, after: Checkpoint, pairing: Pairing, anatomy: Anatomy | None) -> str | None:
    """The new tensor that holds what a tied embedding held, where it is the unembedding of that model."""
    added = {entry.name for entry in pairing.added}
    if anatomy is None or not anatomy.tied or anatomy.unembedding not in added:
        return None
    old = next(writer.tensor for writer in anatomy.writers if writer.tied)
    same = same_bytes(slot_of(before, old), slot_of(after, anatomy.unembedding))
    return anatomy.unembedding if same else None


def _new_biases(after: Checkpoint, pairing: Pairing, wanted: Set[str]) -> dict[str, Array]:
    """The biases among what came new that belong to a writer; an adapter's under the names of its base."""
    found: dict[str, Array] = {}
    for entry in pairing.added:
        of_adapter = not after.headers
        name = base_name(entry) if of_adapter else entry.name
        if name in wanted and len(entry.shape) == 1:
            bias = read_bias(after.folder, entry) if of_adapter else read_slot(slot_of(after, name))
            found[name] = bias.astype(np.float64)
    return found


def _compare(pair: Pair, writer: Writer | None, gains: Mapping[Gain, Array]) -> _Outcome:
    if pair.reshaped:
        return Resized(pair, _same_prefix(pair))
    if not (pair.retyped or pair.worked_out) and same_bytes(pair.before, pair.after):
        return "identical"
    if not can_measure(pair):
        return "opaque"
    through = None if pair.worked_out else cast_type(pair)
    if through is not None:
        return Cast(pair, through)
    measured = measure(pair, None if writer is None else writer.residual_axis)
    if (
        measured.numbers.finite and not measured.numbers.energy
    ):  # an empty adapter, or a zero of the other sign
        return "identical" if pair.worked_out else Cast(pair, pair.after.entry.dtype)
    gain = gains[writer.gain] if writer is not None and writer.gain is not None else None
    return Changed(measured, read_change(measured, writer=writer is not None), writer, gain)


def _same_prefix(pair: Pair) -> bool:
    """Whether only lines were added or taken away at the end, and the others hold the same bytes."""
    first, second = pair.before.entry, pair.after.entry
    if first.shape[1:] != second.shape[1:] or first.dtype != second.dtype or not first.shape:
        return False
    size = min(first.n_bytes, second.n_bytes)
    slots = (
        replace(slot, entry=replace(slot.entry, end=slot.entry.start + size))
        for slot in (pair.before, pair.after)
    )
    return same_bytes(*slots)
