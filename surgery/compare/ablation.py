"""The verdict on writers that read as ablated.

An ablation is called one only where the right side of the change is the writer's own component along the
direction (see `surgery.compare.reading`), looked at a second time and exactly in some of the writers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from surgery.compare.evidence import Evidence
from surgery.compare.probe import Probe, probe
from surgery.compare.shared import Changed, SharedDirections, along, carried, measure_member, pool
from surgery.compare.verdict import Effect, Kind, Verdict, effect_of

AGREEMENT = 0.9
"""Writers whose own directions agree less than this do not share one."""
_BLURRED = 0.15
_PROBES = 4
_LARGE = 4
_RIGHT = 0.9
_VECTOR = 0.98
_KINDS: dict[str, Kind] = {
    "ablation": "ablation",
    "oblique": "oblique_ablation",
    "row_norm_preserving": "row_norm_preserving_ablation",
}
_OBLIQUE = ("oblique", "row_norm_preserving")


def ablation_verdict(
    evidence: Evidence, ablated: Sequence[Changed], rest: Sequence[Changed]
) -> Verdict | None:
    """The verdict on writers that read as ablated; None where a second look does not confirm it.

    Args:
        evidence: of the whole comparison.
        ablated: writers whose change reads as an ablation.
        rest: whatever else changed; biases among it that the same directions explain join the verdict.

    Raises:
        CheckpointError: a file ends too early while a writer is looked at again.
    """
    shared = pool(ablated)
    if shared is None:
        return None
    is_shared = shared.agreement >= AGREEMENT or len(ablated) == 1
    probes = [_probe(each, shared if is_shared else None) for each in _spread(ablated)]
    if median(abs(found.right) for found in probes) < _RIGHT and _majority(ablated) not in _OBLIQUE:
        return None
    strengths = _all_strengths(ablated, shared, probes, is_shared=is_shared)
    first = [value for values in strengths.values() for value in values]
    verdict = Verdict(
        _ablation_kind(ablated, probes),
        tuple(each.name for each in ablated),
        effect=_effect(ablated, first),
        strengths=strengths,
        shared=shared if is_shared else None,
        probes=tuple(probes),
        facts=_facts(evidence, ablated, shared, first),
    )
    return _with_vectors(verdict, rest)


def _all_strengths(
    ablated: Sequence[Changed], shared: SharedDirections, probes: Sequence[Probe], *, is_shared: bool
) -> dict[str, tuple[float, ...]]:
    """λ of every writer; the exact one where a writer was looked at again."""
    strengths = {each.name: _strengths(each, shared, is_shared) for each in ablated}
    forms = {each.name: each.reading.form for each in ablated}
    exact = {
        found.tensor: (found.strength,)
        for found in probes
        if len(strengths[found.tensor]) == 1 and forms[found.tensor] not in _OBLIQUE
    }
    return {**strengths, **exact}


def _facts(
    evidence: Evidence, ablated: Sequence[Changed], shared: SharedDirections, strengths: Sequence[float]
) -> dict[str, Any]:
    numbers = [each.measured.numbers for each in ablated]
    above = sum(each.above_floor for each in numbers)
    inside = sum(each.reading.share * each.measured.numbers.above_floor for each in ablated)
    rests = [each.reading.fit.rest for each in ablated if each.reading.fit is not None]
    return {
        "writers": len(ablated),
        "forms": dict(Counter(each.reading.form for each in ablated)),
        "directions_per_writer": round(median(each.reading.rank for each in ablated)),
        "agreement": shared.agreement,
        "strength_mean": float(np.mean(strengths)),
        "strength_spread": float(np.std(strengths)),
        "energy_along_it_above_rounding": inside / above if above else 0.0,
        "right_side_unexplained": float(np.median(rests)),
        "growth": float(np.median([each.growth for each in numbers])),
        "left_out": list(evidence.left_out),
        "readers_changed": len(evidence.changed_readers),
    }


def _effect(ablated: Sequence[Changed], strengths: Sequence[float]) -> Effect:
    """Rescaled norms blur the strengths that a sketch shows, so there the median speaks."""
    if _majority(ablated) == "ablation":
        return effect_of(strengths)
    return effect_of([median(strengths)], _BLURRED)


def _majority(ablated: Sequence[Changed]) -> str:
    return Counter(each.reading.form for each in ablated).most_common(1)[0][0]


def _ablation_kind(ablated: Sequence[Changed], probes: Sequence[Probe]) -> Kind:
    form = _majority(ablated)
    if form == "norm_preserving":
        columns = sum(found.keeps_columns for found in probes)
        rows = sum(found.keeps_rows and not found.keeps_columns for found in probes)
        return "column_norm_preserving_ablation" if columns >= rows else "row_norm_preserving_ablation"
    return _KINDS[form]


def _spread(ablated: Sequence[Changed]) -> list[Changed]:
    """A few writers from all over the model, none much larger than the smallest of them."""
    smallest = min(each.measured.numbers.size for each in ablated)
    matrices = [each for each in ablated if each.measured.numbers.size <= _LARGE * smallest]
    return [
        matrices[i * (len(matrices) - 1) // max(1, _PROBES - 1)] for i in range(min(_PROBES, len(matrices)))
    ]


def _probe(changed: Changed, shared: SharedDirections | None) -> Probe:
    own = changed.reading.directions
    if len(own) and (shared is None or changed.reading.form in _OBLIQUE):
        direction = own[0]
    else:
        assert shared is not None  # a writer whose own direction was given up was measured against it
        direction = carried(shared.vectors, changed.gain)[0]
    return probe(changed.measured.pair, changed.measured.view, direction)


def _strengths(changed: Changed, shared: SharedDirections, is_shared: bool) -> tuple[float, ...]:
    fit = changed.reading.fit
    if changed.reading.form == "ablation" and is_shared:
        return next(member.strengths for member in shared.members if member.tensor == changed.name)
    return fit.strengths if fit is not None else ()


def _with_vectors(verdict: Verdict, rest: Sequence[Changed]) -> Verdict:
    """The verdict with the biases that the same directions explain."""
    shared = verdict.shared
    if shared is None:
        return verdict
    joined = [each for each in rest if _explained_by(shared, each)]
    strengths = {each.name: measure_member(each, shared.vectors).strengths for each in joined}
    return replace(
        verdict,
        tensors=(*verdict.tensors, *strengths),
        strengths={**verdict.strengths, **strengths},
        facts={**verdict.facts, "writers": len(verdict.tensors) + len(joined)},
    )


def _explained_by(shared: SharedDirections, changed: Changed) -> bool:
    if changed.reading.form != "vector" or changed.writer is None:
        return False
    numbers = changed.measured.numbers
    rounding = numbers.floor / numbers.energy if numbers.energy else 0.0
    return along(changed, shared.vectors) >= _VECTOR - 4 * rounding
