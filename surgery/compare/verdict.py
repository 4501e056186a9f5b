"""What a comparison may conclude, and what strengths mean.

A kind is named only where the numbers leave nothing else; what they do not settle is 'unknown'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from surgery.compare.probe import Probe
from surgery.compare.shared import SharedDirections

Kind = Literal[
    "identical",
    "repacked",
    "ablation",
    "oblique_ablation",
    "row_norm_preserving_ablation",
    "column_norm_preserving_ablation",
    "bias_addition",
    "low_rank",
    "dense_fine_tune",
    "requantisation",
    "embedding_resize",
    "untied_embedding",
    "different_base",
    "several",
    "unknown",
]
Effect = Literal["removed", "weakened", "inverted", "strengthened", "mixed"]

_EXACT = 0.03


@dataclass(frozen=True)
class Verdict:
    """One kind of edit. `parts` are the verdicts of a checkpoint that several kinds of edit explain.

    Attributes:
        tensors: what it explains.
        effect: of an ablation, from its strengths; 1 − λ is what remains of the component.
        strengths: λ by tensor, for each direction.
        shared: the directions of an ablation that its writers share.
        probes: writers looked at a second time, exactly.
        facts: the numbers that led to it, by name.
    """

    kind: Kind
    tensors: tuple[str, ...] = ()
    effect: Effect | None = None
    strengths: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    shared: SharedDirections | None = None
    probes: tuple[Probe, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Verdict, ...] = ()

    @property
    def single(self) -> tuple[Verdict, ...]:
        """The verdicts of one kind: its parts, or itself."""
        return self.parts or (self,)

    @property
    def ablation(self) -> Verdict | None:
        """The part of it that is an ablation, None where none is."""
        return next((part for part in self.single if part.kind.endswith("ablation")), None)


def effect_of(strengths: Sequence[float], tolerance: float = _EXACT) -> Effect:
    """What strengths λ do to a component: 1 removes it, between 0 and 1 weakens, above inverts, below 0
    strengthens."""

    def one(value: float) -> Effect:
        if abs(value - 1) <= tolerance:
            return "removed"
        return "strengthened" if value < 0 else "weakened" if value < 1 else "inverted"

    found = {one(value) for value in strengths}
    return found.pop() if len(found) == 1 else "mixed"
