"""The steps of an edit in plain words, and what each does to a direction.

    ablate, strength s:  W' = W − s r (rᵀW)

leaves 1 − s of what a writer puts along r: nothing at s = 1, less at 0 < s < 1, more at s < 0, the opposite
above 1. Where s falls off with the distance from a layer, what is said is what holds over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from surgery.recipe.editing import Ablate, Add, LayerRange
from surgery.report.numbers import plain

EffectKind = Literal["removed", "weakened", "strengthened", "reversed", "added", "unchanged"]


@dataclass(frozen=True)
class Effect:
    """What one step does to one direction; `strength` is None for an addition, `layer` for an ablation.
    `graded` says that the strength is the largest of several, one a layer; `length` is that of an added
    vector, in words.
    """

    kind: EffectKind
    direction: str
    strength: float | None = None
    layer: int | None = None
    graded: bool = False
    length: str | None = None


def describe_step(step: Ablate | Add) -> str:
    """`ablate refusal, strength 1`; `add agree to the output of layer 3, length 4`."""
    if isinstance(step, Add):
        return f"add {step.add} to the output of layer {step.layer}, {_length(step)}"
    parts = [f"ablate {step.ablate}", f"strength {plain(step.strength)}"]
    if step.writers != "all":
        parts.append(f"only {' and '.join(step.writers)}")
    if isinstance(step.layers, LayerRange):
        last = "the last" if step.layers.last is None else step.layers.last
        parts.append(f"only layers {step.layers.first} to {last}")
    elif step.layers is not None:
        parts.append(f"only layer{'s' if len(step.layers) > 1 else ''} {runs(step.layers)}")
    if step.kernel is not None:
        kernel = step.kernel
        falls = f", down to {kernel.least:g} of it" if kernel.least and kernel.shape != "flat" else ""
        parts.append(
            f"{kernel.shape} weights around layer {kernel.peak:g}, reaching {kernel.reach:g} layers{falls}"
        )
    return ", ".join(parts)


def step_effect(step: Ablate | Add) -> Effect:
    """What a step does to its direction."""
    if isinstance(step, Add):
        return Effect("added", step.add, None, step.layer, length=_length(step))
    if step.kernel is None or step.kernel.shape == "flat":
        return Effect(_kind(step.strength), step.ablate, step.strength)
    kind: EffectKind = "strengthened" if step.strength < 0 else "weakened" if step.strength else "unchanged"
    return Effect(kind, step.ablate, step.strength, graded=True)


def runs(numbers: list[int] | tuple[int, ...]) -> str:
    """Whole numbers with runs drawn together: `0–5, 8`."""
    groups: list[list[int]] = []
    for number in sorted(set(numbers)):
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return ", ".join(str(each[0]) if len(each) == 1 else f"{each[0]}–{each[-1]}" for each in groups)


def _kind(strength: float) -> EffectKind:
    if strength == 0:
        return "unchanged"
    if strength < 0:
        return "strengthened"
    if strength == 1:
        return "removed"
    return "weakened" if strength < 1 else "reversed"


def _length(step: Add) -> str:
    if step.scale.norm is not None:
        return f"length {step.scale.norm:g}"
    assert step.scale.times is not None
    return f"{plain(step.scale.times)} × its own length"
