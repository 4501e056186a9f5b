"""Verdicts on what is no ablation: adapters, fine-tunes, rounding to fewer bits, added vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from surgery.compare.grid import Grid, quantised_grid
from surgery.compare.probe import glance
from surgery.compare.rank import measured_rank
from surgery.compare.shared import Changed, carried, pool
from surgery.compare.verdict import Verdict

_NO_LARGER = 4.0
_SAMPLES = 6
_MULTIPLE = 1e-3
_ASIDE = 0.02


def other_verdicts(rest: Sequence[Changed]) -> list[Verdict]:
    """Verdicts on what is no ablation."""
    vectors = [each for each in rest if each.reading.form == "vector"]
    matrices = [each for each in rest if each.reading.form not in ("vector", "opaque")]
    opaque = [each for each in rest if each.reading.form == "opaque"]
    parts = []
    if matrices:
        found = _quantised(matrices) or [_matrices(matrices)]
        if found[0].kind == "dense_fine_tune":  # norms and biases move with the matrices
            found, vectors = [_dense([*matrices, *vectors])], []
        parts += found
    biases = [each for each in vectors if each.writer is not None and each.writer.bias]
    if biases:
        parts.append(_biases(biases))
    facts = {
        "changed_vectors": [each.name for each in vectors if each not in biases],
        "hold_values_that_are_no_numbers": [each.name for each in opaque],
    }
    left = {key: names for key, names in facts.items() if names}
    if left:
        parts.append(Verdict("unknown", tuple(name for names in left.values() for name in names), facts=left))
    return parts


def _biases(biases: Sequence[Changed]) -> Verdict:
    lengths = {each.name: float(np.sqrt(each.measured.numbers.energy)) for each in biases}
    return Verdict("bias_addition", tuple(lengths), facts={"length_added": lengths})


def _matrices(matrices: Sequence[Changed]) -> Verdict:
    names = tuple(each.name for each in matrices)
    if all(each.reading.form == "low_rank" for each in matrices):
        return _low_rank(matrices, [each.reading.rank for each in matrices])
    if all(_is_multiple(each) for each in matrices):
        factors = {
            each.name: float(np.sqrt(each.measured.numbers.after / each.measured.numbers.before))
            for each in matrices
        }
        return Verdict("unknown", names, facts={"each_is_a_multiple_of_what_it_was": factors})
    if all(_no_larger_than_rounding(each) for each in matrices):
        worst = max(
            each.measured.numbers.energy / max(each.measured.numbers.floor, 1e-300) for each in matrices
        )
        return Verdict("unknown", names, facts={"energy_over_rounding_at_most": worst})
    wide = [measured_rank(each.measured) for each in _few(matrices)]
    ranks = [found for found in wide if found is not None]
    if len(ranks) == len(wide):
        return _low_rank(matrices, ranks)
    return _dense(matrices)


def _quantised(matrices: Sequence[Changed]) -> list[Verdict]:
    """Verdicts on matrices that stand on a grid, none where they do not.

    What writes may have been edited before it was rounded: it is looked at beside what reads, by itself.
    """
    groups = [[each for each in matrices if (each.writer is None) is reads] for reads in (True, False)]
    looked = [
        (group, [quantised_grid(each.measured.pair) for each in _few(group)]) for group in groups if group
    ]
    if not all(grid for _, grids in looked for grid in grids):
        return []
    parts = [_on_grid(group, [grid for grid in grids if grid is not None]) for group, grids in looked]
    if all(part.kind == "requantisation" for part in parts):
        return [replace(parts[0], tensors=tuple(each.name for each in matrices))]
    return parts


def _on_grid(matrices: Sequence[Changed], grids: Sequence[Grid]) -> Verdict:
    """Rounded to a grid; unknown where values moved further than that rounding takes them."""
    aside = median(grid.aside for grid in grids)
    facts = {"grid": grids[0].name, "tensors_looked_at": len(grids), "share_not_at_the_nearest_level": aside}
    names = tuple(each.name for each in matrices)
    if aside <= _ASIDE:
        return Verdict("requantisation", names, facts=facts)
    return Verdict("unknown", names, facts={**facts, **_leading(matrices)})


def _dense(changed: Sequence[Changed]) -> Verdict:
    numbers = [each.measured.numbers for each in changed]
    facts = {
        "tensors": len(changed),
        "writers": sum(each.writer is not None for each in changed),
        "relative_change_median": median(each.relative for each in numbers),
        "energy_over_rounding_median": median(each.energy / max(each.floor, 1e-300) for each in numbers),
        **_leading(changed),
    }
    return Verdict("dense_fine_tune", tuple(each.name for each in changed), facts=facts)


def _leading(changed: Sequence[Changed]) -> dict[str, float]:
    """How far the writers' leading directions agree, and what they still write along the first of them,
    relative to before: near 1 after training, near 0 where an ablation went before or after it.
    """
    writers = [each for each in changed if each.writer is not None and len(each.reading.directions)]
    shared = pool(writers)
    if shared is None:
        return {}
    left = median(
        glance(each.name, each.measured.sample, carried(shared.vectors, each.gain)[0]).leak
        for each in writers
    )
    return {"agreement_of_leading_directions": shared.agreement, "component_left_along_them": left}


def _low_rank(matrices: Sequence[Changed], ranks: Sequence[int]) -> Verdict:
    writers = [each for each in matrices if each.writer is not None and len(each.reading.directions)]
    shared = pool(writers)
    fits = [each.reading.fit.rest for each in writers if each.reading.fit is not None]
    facts = {
        "tensors": len(matrices),
        "rank": max(ranks),
        "share_above_rounding": median(each.reading.share for each in matrices),
        "agreement_of_leading_directions": None if shared is None else shared.agreement,
        "right_side_unexplained": median(fits) if fits else None,
    }
    return Verdict("low_rank", tuple(each.name for each in matrices), facts=facts)


def _few(matrices: Sequence[Changed]) -> list[Changed]:
    """The smallest tensors of those that changed, of different roles where there are any."""
    ordered = sorted(matrices, key=lambda each: (each.measured.numbers.size, each.name))
    step = max(1, len(ordered) // _SAMPLES)
    return ordered[::step][:_SAMPLES]


def _is_multiple(changed: Changed) -> bool:
    """Whether nearly all of Δ points along A itself."""
    numbers = changed.measured.numbers
    scale = numbers.before * numbers.energy
    aside = 1 - numbers.inner**2 / scale if scale else 1.0
    return aside <= _MULTIPLE + numbers.floor / numbers.energy


def _no_larger_than_rounding(changed: Changed) -> bool:
    numbers = changed.measured.numbers
    return changed.reading.rank == 0 and numbers.energy <= _NO_LARGER * numbers.floor
