"""From evidence to words: which kinds of edit explain what changed, each with the numbers that led to it.

Every changed tensor is explained by exactly one part. A kind is named only where the numbers leave nothing
else; what they do not settle is 'unknown'. An ablation is called one only where the right side of the change
is the writer's own component along the direction (see `surgery.compare.reading`), looked at a second time and
exactly in some of the writers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

import numpy as np

from surgery.compare.evidence import Evidence
from surgery.compare.grid import quantised_grid
from surgery.compare.probe import Probe, probe
from surgery.compare.rank import measured_rank
from surgery.compare.reading import ABLATIONS
from surgery.compare.shared import Changed, SharedDirections, along, carried, measure_member, pool

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
    "different_base",
    "several",
    "unknown",
]
Effect = Literal["removed", "weakened", "inverted", "strengthened", "mixed"]

AGREEMENT = 0.9
"""Writers whose own directions agree less than this do not share one."""
_EXACT = 0.03
_BLURRED = 0.15
_PROBES = 4
_LARGE = 4
_RIGHT = 0.9
_VECTOR = 0.98
_UNRELATED = 0.5
_NO_LARGER = 4.0
_SAMPLES = 6
_MULTIPLE = 1e-3
_OBLIQUE = ("oblique", "row_norm_preserving")


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


def judge(evidence: Evidence) -> Verdict:
    """What kind of edit explains the evidence.

    Raises:
        CheckpointError: a file ends too early while a writer is looked at again.
    """
    parts = [*_stored_otherwise(evidence), *_changed(evidence), *_rest(evidence)]
    if not parts:
        return Verdict("repacked" if evidence.moved else "identical", facts={"moved_tensors": evidence.moved})
    if len(parts) == 1:
        return parts[0]
    return Verdict("several", tuple(name for part in parts for name in part.tensors), parts=tuple(parts))


def effect_of(strengths: Sequence[float], tolerance: float = _EXACT) -> Effect:
    """What strengths λ do to a component: 1 removes it, between 0 and 1 weakens, above inverts, below 0
    strengthens."""

    def one(value: float) -> Effect:
        if abs(value - 1) <= tolerance:
            return "removed"
        return "strengthened" if value < 0 else "weakened" if value < 1 else "inverted"

    found = {one(value) for value in strengths}
    return found.pop() if len(found) == 1 else "mixed"


def _stored_otherwise(evidence: Evidence) -> list[Verdict]:
    """Verdicts on tensors whose values are the same, stored otherwise."""
    parts = []
    if evidence.cast:
        names = tuple(each.pair.name for each in evidence.cast)
        kinds = Counter(
            f"{each.pair.before.entry.dtype} → {each.pair.after.entry.dtype}"
            + ("" if each.through == each.pair.after.entry.dtype else f" through {each.through}")
            for each in evidence.cast
        )
        parts.append(Verdict("requantisation", names, facts={"every_value_is_the_rounded_one": dict(kinds)}))
    grown = [each for each in evidence.resized if each.same_prefix]
    if grown:
        rows = {
            each.pair.name: [each.pair.before.entry.shape[0], each.pair.after.entry.shape[0]] for each in grown
        }
        vocabulary = [each for each in grown if _is_vocabulary(evidence, each.pair.name)]
        kind: Kind = "embedding_resize" if len(vocabulary) == len(grown) else "unknown"
        parts.append(Verdict(kind, tuple(rows), facts={"rows": rows, "common_rows": "identical"}))
    return parts


def _is_vocabulary(evidence: Evidence, name: str) -> bool:
    if evidence.anatomy is None:
        return "vocab_size" in evidence.config
    if any(each.tensor == name and each.role == "embedding" for each in evidence.anatomy.writers):
        return True
    return "layers." not in name and ("vocab_size" in evidence.config or "text_config" in evidence.config)


def _rest(evidence: Evidence) -> list[Verdict]:
    """What no kind explains: tensors that came, went, changed shape or hold no numbers."""
    pairing = evidence.pairing
    reshaped = [each.pair.name for each in evidence.resized if not each.same_prefix]
    added, removed = ([entry.name for entry in entries] for entries in (pairing.added, pairing.removed))
    opaque = [pair.name for pair in evidence.opaque]
    if added and all(name.endswith(".bias") for name in added) and not (removed or reshaped or opaque):
        return [Verdict("bias_addition", tuple(added), facts={"added_tensors": len(added)})]
    facts = {"added": added, "removed": removed, "reshaped": reshaped, "not_numbers": opaque}
    found = {key: value for key, value in facts.items() if value}
    names = tuple(name for value in found.values() for name in value)
    return [Verdict("unknown", names, facts=found)] if found else []


def _changed(evidence: Evidence) -> list[Verdict]:
    """Verdicts on tensors whose values changed."""
    changed = evidence.changed
    if not changed:
        return []
    matrices = [each for each in changed if each.reading.form not in ("vector", "opaque")]
    if matrices and median(each.measured.numbers.cosine for each in matrices) < _UNRELATED:
        return [_different_base(evidence, changed)]
    ablated = [each for each in matrices if each.reading.form in ABLATIONS]
    rest = [each for each in changed if each.reading.form not in ABLATIONS]
    parts = []
    if ablated:
        part, refused = _ablation(evidence, ablated)
        if part is not None:
            rest = _without_vectors(part, rest)
            part = _with_vectors(part, changed, rest)
            parts.append(part)
        rest = [*refused, *rest]
    return parts + _others(evidence, rest)


def _different_base(evidence: Evidence, changed: Sequence[Changed]) -> Verdict:
    cosines = [each.measured.numbers.cosine for each in changed]
    facts = {"median_cosine": median(cosines), "changed_tensors": len(changed), "identical": evidence.identical}
    return Verdict("different_base", tuple(each.name for each in changed), facts=facts)


def _ablation(evidence: Evidence, ablated: Sequence[Changed]) -> tuple[Verdict | None, list[Changed]]:
    """The verdict on writers that read as ablated, and those of them that a second look does not confirm."""
    shared = pool(ablated)
    if shared is None:
        return None, list(ablated)
    is_shared = shared.agreement >= AGREEMENT or len(ablated) == 1
    probes = [_probe(each, shared if is_shared else None) for each in _spread(ablated)]
    if median(abs(found.right) for found in probes) < _RIGHT and _majority(ablated) not in _OBLIQUE:
        return None, list(ablated)
    strengths = {each.name: _strengths(each, shared, is_shared) for each in ablated}
    exact = {found.tensor: (found.strength,) for found in probes}
    strengths |= {
        each.name: exact[each.name]
        for each in ablated
        if each.name in exact and len(strengths[each.name]) == 1 and each.reading.form not in _OBLIQUE
    }
    first = [value for values in strengths.values() for value in values]
    numbers = [each.measured.numbers for each in ablated]
    above = sum(each.above_floor for each in numbers)
    inside = sum(each.reading.share * each.measured.numbers.above_floor for each in ablated)
    facts: dict[str, Any] = {
        "writers": len(ablated),
        "forms": dict(Counter(each.reading.form for each in ablated)),
        "directions_per_writer": round(median(each.reading.rank for each in ablated)),
        "agreement": shared.agreement,
        "strength_mean": float(np.mean(first)),
        "strength_spread": float(np.std(first)),
        "energy_along_it_above_rounding": inside / above if above else 0.0,
        "right_side_unexplained": float(np.median([each.reading.fit.rest for each in ablated if each.reading.fit])),
        "growth": float(np.median([each.growth for each in numbers])),
        "left_out": list(evidence.left_out),
        "readers_changed": len(evidence.changed_readers),
    }
    verdict = Verdict(
        _ablation_kind(ablated, probes),
        tuple(each.name for each in ablated),
        effect=_effect(ablated, first),
        strengths=strengths,
        shared=shared if is_shared else None,
        probes=tuple(probes),
        facts=facts,
    )
    return verdict, []


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
    return {
        "ablation": "ablation",
        "oblique": "oblique_ablation",
        "row_norm_preserving": "row_norm_preserving_ablation",
    }[form]  # type: ignore[return-value]


def _spread(ablated: Sequence[Changed]) -> list[Changed]:
    """A few writers from all over the model; those much larger than the smallest only where there are no others."""
    smallest = min(each.measured.numbers.size for each in ablated)
    matrices = [each for each in ablated if each.measured.numbers.size <= _LARGE * smallest]
    return [matrices[i * (len(matrices) - 1) // max(1, _PROBES - 1)] for i in range(min(_PROBES, len(matrices)))]


def _probe(changed: Changed, shared: SharedDirections | None) -> Probe:
    if shared is None or changed.reading.form in _OBLIQUE:
        direction = changed.reading.directions[0] if len(changed.reading.directions) else None
    else:
        direction = carried(shared.vectors, changed.gain)[0]
    assert direction is not None or shared is not None
    if direction is None:
        direction = carried(shared.vectors, changed.gain)[0]  # type: ignore[union-attr]
    return probe(changed.measured.pair, changed.measured.view, direction)


def _strengths(changed: Changed, shared: SharedDirections, is_shared: bool) -> tuple[float, ...]:
    fit = changed.reading.fit
    if changed.reading.form == "ablation" and is_shared:
        return next(member.strengths for member in shared.members if member.tensor == changed.name)
    return fit.strengths if fit is not None else ()


def _without_vectors(part: Verdict, rest: Sequence[Changed]) -> list[Changed]:
    """What is left once biases that the same directions explain are taken out."""
    return [each for each in rest if not _explained_by(part, each)]


def _with_vectors(part: Verdict, changed: Sequence[Changed], rest: Sequence[Changed]) -> Verdict:
    left = {each.name for each in rest}
    known = set(part.tensors)
    joined = [
        each
        for each in changed
        if each.name not in known | left and each.reading.form == "vector" and part.shared is not None
    ]
    strengths = dict(part.strengths)
    for each in joined:
        assert part.shared is not None
        strengths[each.name] = measure_member(each, part.shared.vectors).strengths
    return Verdict(
        part.kind,
        (*part.tensors, *(each.name for each in joined)),
        effect=part.effect,
        strengths=strengths,
        shared=part.shared,
        probes=part.probes,
        facts={**part.facts, "writers": len(part.tensors) + len(joined)},
    )


def _explained_by(part: Verdict, changed: Changed) -> bool:
    if changed.reading.form != "vector" or changed.writer is None or part.shared is None:
        return False
    numbers = changed.measured.numbers
    rounding = numbers.floor / numbers.energy if numbers.energy else 0.0
    return along(changed, part.shared.vectors) >= _VECTOR - 4 * rounding


def _others(evidence: Evidence, rest: Sequence[Changed]) -> list[Verdict]:
    """Verdicts on what is no ablation."""
    vectors = [each for each in rest if each.reading.form == "vector"]
    matrices = [each for each in rest if each.reading.form not in ("vector", "opaque")]
    opaque = [each for each in rest if each.reading.form == "opaque"]
    parts = []
    if matrices:
        part = _matrices(matrices)
        if part.kind == "dense_fine_tune":  # norms and biases move with the matrices
            part, vectors = _dense([*matrices, *vectors]), []
        parts.append(part)
    biases = [each for each in vectors if each.writer is not None and each.writer.bias]
    if biases:
        parts.append(_biases(biases))
    left = [each for each in vectors if each not in biases] + opaque
    if left:
        names = tuple(each.name for each in left)
        parts.append(Verdict("unknown", names, facts={"changed_vectors": len(names)}))
    return parts


def _biases(biases: Sequence[Changed]) -> Verdict:
    lengths = {each.name: float(np.sqrt(each.measured.numbers.energy)) for each in biases}
    return Verdict("bias_addition", tuple(lengths), facts={"length_added": lengths})


def _matrices(matrices: Sequence[Changed]) -> Verdict:
    names = tuple(each.name for each in matrices)
    grids = [quantised_grid(each.measured.pair) for each in _few(matrices)]
    if all(grids):
        return Verdict("requantisation", names, facts={"grid": grids[0], "tensors_looked_at": len(grids)})
    if all(each.reading.form == "low_rank" for each in matrices):
        return _low_rank(matrices, [each.reading.rank for each in matrices])
    if all(_is_multiple(each) for each in matrices):
        factors = {each.name: float(np.sqrt(each.measured.numbers.after / each.measured.numbers.before)) for each in matrices}
        return Verdict("unknown", names, facts={"each_is_a_multiple_of_what_it_was": factors})
    if all(_no_larger_than_rounding(each) for each in matrices):
        worst = max(each.measured.numbers.energy / max(each.measured.numbers.floor, 1e-300) for each in matrices)
        return Verdict("unknown", names, facts={"energy_over_rounding_at_most": worst})
    wide = [measured_rank(each.measured) for each in _few(matrices)]
    ranks = [found for found in wide if found is not None]
    if len(ranks) == len(wide):
        return _low_rank(matrices, ranks)
    return _dense(matrices)


def _dense(changed: Sequence[Changed]) -> Verdict:
    numbers = [each.measured.numbers for each in changed]
    shared = pool([each for each in changed if each.writer is not None and len(each.reading.directions)])
    facts = {
        "tensors": len(changed),
        "writers": sum(each.writer is not None for each in changed),
        "relative_change_median": median(each.relative for each in numbers),
        "energy_over_rounding_median": median(each.energy / max(each.floor, 1e-300) for each in numbers),
        "agreement_of_leading_directions": None if shared is None else shared.agreement,
    }
    return Verdict("dense_fine_tune", tuple(each.name for each in changed), facts=facts)


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
