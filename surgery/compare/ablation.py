"""The verdict on writers that read as ablated.

An ablation is called one only where the right side of the change is the writer's own component along the
direction (see `surgery.compare.reading`), looked at a second time in columns as they are: some of each
writer, or all of a few where lengths of rows or columns decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from surgery.compare.evidence import Evidence
from surgery.compare.parallel import in_threads
from surgery.compare.probe import Probe, glance, probe
from surgery.compare.reading import Form
from surgery.compare.shared import (
    Array,
    Changed,
    SharedDirections,
    along,
    carried,
    measure_member,
    pool,
    with_members,
)
from surgery.compare.verdict import Effect, Kind, Verdict, effect_of
from surgery.linalg.sketch import fit_relation

AGREEMENT = 0.9
"""Writers whose own directions agree less than this do not share one."""
_BLURRED = 0.15
_PROBES = 4
_LARGE = 4
_RIGHT = 0.9
_VECTOR = 0.98
_WHOLE = 0.999
_UNFITTED = 0.1
_LOOSE = 0.3
_KINDS: dict[str, Kind] = {
    "ablation": "ablation",
    "oblique": "oblique_ablation",
    "row_norm_preserving": "row_norm_preserving_ablation",
}
_PLAIN: dict[Form, Form] = {"norm_preserving": "ablation", "row_norm_preserving": "oblique"}
_NORMED = ("norm_preserving", "row_norm_preserving")
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
    ablated = [found for found in in_threads(_confirmed, ablated) if found is not None]
    shared = pool(ablated)
    if shared is None:
        return None
    ablated = [*ablated, *_hidden(ablated, shared, rest)]
    shared = with_members(shared, ablated)
    is_shared = shared.agreement >= AGREEMENT or len(ablated) == 1
    known = shared if is_shared else None
    normed = _majority(ablated) in _NORMED
    probes = list(in_threads(lambda each: _probe(each, known, whole=normed), _spread(ablated)))
    strengths = {each.name: _strengths(each, known) for each in ablated}
    first = [value for values in strengths.values() for value in values]
    verdict = Verdict(
        _ablation_kind(ablated, probes),
        tuple(each.name for each in ablated),
        effect=_effect(ablated, first),
        strengths=strengths,
        shared=known,
        probes=tuple(probes),
        facts=_facts(evidence, ablated, shared, first),
    )
    return _with_vectors(verdict, rest)


def _confirmed(changed: Changed) -> Changed | None:
    """The writer itself; as a plain ablation where norms were not kept after all; None where it is none."""
    reading = changed.reading
    if reading.form not in _NORMED or _keeps_norms(changed):
        return changed
    if reading.share < _WHOLE or reading.fit is None or reading.fit.rest > _UNFITTED:
        return None
    return replace(changed, reading=replace(reading, form=_PLAIN[reading.form]))


def _keeps_norms(changed: Changed, vectors: Array | None = None) -> bool:
    """Whether the lengths of columns or of rows, each of them, are what they were, and the edit removes
    something along its direction. A rotation keeps lengths too, but takes away nothing along one direction.
    """
    own = changed.reading.directions[:1]
    directions = carried(vectors[:1], changed.gain) if vectors is not None else own
    if not len(directions):
        return False
    found = probe(changed.measured.pair, changed.measured.view, directions[0])
    assert found.norms is not None
    if changed.reading.form == "row_norm_preserving":
        return found.norms.keeps_rows
    return (found.norms.keeps_columns or found.norms.keeps_rows) and abs(found.right) >= _RIGHT


def _hidden(ablated: Sequence[Changed], shared: SharedDirections, rest: Sequence[Changed]) -> list[Changed]:
    """Writers whose sketch showed too little, and which a second look finds to be edited like the others.

    Only where rows were rescaled: there eight columns may show too little of a writer by itself.
    """
    form = _majority(ablated)
    if form == "ablation" or shared.agreement < AGREEMENT:
        return []
    candidates = [
        replace(each, reading=replace(each.reading, form=form))
        for each in rest
        if each.writer is not None and each.reading.form in ("low_rank", "dense")
    ]
    if form == "oblique":
        return [each for each in candidates if _is_oblique(each, shared.vectors[0])]
    return [each for each in candidates if _keeps_norms(each, shared.vectors)]


def _is_oblique(changed: Changed, vector: Array) -> bool:
    """Whether Δ lies along N r, and its right side is that of an oblique ablation along this very r."""
    measured = changed.measured
    q = carried(vector[None], changed.gain)[0]
    norms = np.maximum(measured.row_norms, measured.row_norms.max() * 1e-6)
    u = q * norms / np.linalg.norm(q * norms)
    change = (u @ measured.change)[None]
    inside = float(np.sum(change**2) / np.sum(measured.change**2))
    return inside > _RIGHT and fit_relation(change, ((q / norms) @ measured.before)[None]).rest < _LOOSE


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


def _majority(ablated: Sequence[Changed]) -> Form:
    return Counter(each.reading.form for each in ablated).most_common(1)[0][0]


def _ablation_kind(ablated: Sequence[Changed], probes: Sequence[Probe]) -> Kind:
    form = _majority(ablated)
    if form == "norm_preserving":
        norms = [found.norms for found in probes if found.norms is not None]
        columns = sum(found.keeps_columns for found in norms)
        rows = sum(found.keeps_rows and not found.keeps_columns for found in norms)
        return "column_norm_preserving_ablation" if columns >= rows else "row_norm_preserving_ablation"
    return _KINDS[form]


def _spread(ablated: Sequence[Changed]) -> list[Changed]:
    """A few writers from all over the model, none much larger than the smallest of them."""
    smallest = min(each.measured.numbers.size for each in ablated)
    matrices = [each for each in ablated if each.measured.numbers.size <= _LARGE * smallest]
    return [
        matrices[i * (len(matrices) - 1) // max(1, _PROBES - 1)] for i in range(min(_PROBES, len(matrices)))
    ]


def _probe(changed: Changed, shared: SharedDirections | None, *, whole: bool = False) -> Probe:
    """A second look at a writer; `whole` reads it again, lengths of rows and columns included."""
    own = changed.reading.directions
    if len(own) and (shared is None or changed.reading.form in _OBLIQUE):
        direction = own[0]
    else:
        assert shared is not None  # a writer whose own direction was given up was measured against it
        direction = carried(shared.vectors, changed.gain)[0]
    measured = changed.measured
    if whole or changed.member is not None:
        return probe(measured.pair, measured.view, direction)
    return glance(changed.name, measured.sample, direction)


def _strengths(changed: Changed, shared: SharedDirections | None) -> tuple[float, ...]:
    if changed.reading.form in _OBLIQUE:
        return changed.reading.fit.strengths if changed.reading.fit is not None else ()
    if shared is None:
        return measure_member(changed, changed.stream_directions).strengths
    return next(member.strengths for member in shared.members if member.tensor == changed.name)


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
