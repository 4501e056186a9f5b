"""How strongly a step acts in one layer: its strength, times a weight that may fall with the distance.

With d = |l − peak|, in layers, and D = reach, the weight of layer l is 0 beyond D and up to it

    linear  1 − (1 − least) d/D
    cosine  least + (1 − least) (1 + cos π d/D) / 2
    flat    1

A writer that belongs to no layer (an embedding) is reached only by a step that names no layers.
"""

from __future__ import annotations

import math

from surgery.recipe.editing import Ablate, Kernel, LayerRange


def strength_at(step: Ablate, layer: int | None) -> float:
    """The strength λ of a step in a writer of this layer; 0 where it does not reach."""
    if layer is None:
        return step.strength if step.layers is None and step.kernel is None else 0.0
    if not _names(step, layer):
        return 0.0
    return step.strength * (1.0 if step.kernel is None else kernel_weight(step.kernel, layer))


def kernel_weight(kernel: Kernel, layer: int) -> float:
    """The weight of a layer, from 0 to 1."""
    away = abs(layer - kernel.peak) / kernel.reach
    if away > 1:
        return 0.0
    if kernel.shape == "flat":
        return 1.0
    falling = 1 - away if kernel.shape == "linear" else (1 + math.cos(math.pi * away)) / 2
    return kernel.least + (1 - kernel.least) * falling


def named_layers(step: Ablate) -> tuple[int, ...]:
    """The layers that a step names by number: all of a list, the ends of a range."""
    if isinstance(step.layers, LayerRange):
        return tuple(end for end in (step.layers.first, step.layers.last) if end is not None)
    return tuple(step.layers or ())


def _names(step: Ablate, layer: int) -> bool:
    if isinstance(step.layers, LayerRange):
        return layer >= step.layers.first and (step.layers.last is None or layer <= step.layers.last)
    return step.layers is None or layer in step.layers
