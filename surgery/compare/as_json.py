"""A comparison as plain data; `docs/diff.md` describes every key. Version 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgery.compare.diff import Diff
from surgery.compare.nearest import Nearest
from surgery.compare.sentences import base_sentence, headline, left_out_sentence, proofs
from surgery.compare.shared import Changed
from surgery.compare.verdict import Verdict

VERSION = 1


def diff_as_json(
    diff: Diff,
    *,
    nearest: tuple[Nearest, ...] = (),
    cosines: Mapping[str, tuple[float, ...]] | None = None,
) -> dict[str, Any]:
    """Everything that was found, as plain data."""
    found = diff.evidence
    return {
        "version": VERSION,
        "before": str(diff.before.folder),
        "after": str(diff.after.folder),
        "same": diff.same,
        "base": base_sentence(diff),
        "writers": left_out_sentence(diff),
        "counts": {
            "tensors": len(found.pairing.pairs),
            "identical": found.identical,
            "changed": len(found.changed),
            "cast": len(found.cast),
            "resized": len(found.resized),
            "added": len(found.pairing.added),
            "removed": len(found.pairing.removed),
            "in_another_file": found.moved,
        },
        "family": None if found.anatomy is None else found.anatomy.family,
        "no_anatomy": found.why_no_anatomy,
        "verdict": verdict_as_json(diff.verdict),
        "nearest": [
            {
                "dictionary": each.dictionary,
                "features": [{"feature": number, "cosine": cosine} for number, cosine in each.features],
                "code": list(each.code),
                "code_cosine": each.cosine,
            }
            for each in nearest
        ],
        "cosines": {name: list(values) for name, values in (cosines or {}).items()},
        "tensors": [_tensor(each) for each in found.changed],
        "added": [entry.name for entry in found.pairing.added],
        "removed": [entry.name for entry in found.pairing.removed],
        "files": [
            {"name": each.name, "status": each.status, "lines": list(each.lines)} for each in found.files
        ],
        "config": {key: list(values) for key, values in found.config.items()},
    }


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict with its parts."""
    shared = verdict.shared
    return {
        "kind": verdict.kind,
        "effect": verdict.effect,
        "sentence": headline(verdict),
        "evidence": proofs(verdict),
        "facts": dict(verdict.facts),
        "tensors": list(verdict.tensors),
        "strengths": {name: list(values) for name, values in verdict.strengths.items()},
        "agreement_by_tensor": {} if shared is None else {m.tensor: m.agreement for m in shared.members},
        "probes": [
            {
                "tensor": each.tensor,
                "strength": each.strength,
                "leak": float(each.leak),
                "right_side_cosine": each.right,
                "column_norms": None if each.norms is None else each.norms.columns,
                "row_norms": None if each.norms is None else each.norms.rows,
            }
            for each in verdict.probes
        ],
        "parts": [verdict_as_json(part) for part in verdict.parts],
    }


def _tensor(changed: Changed) -> dict[str, Any]:
    numbers, reading, writer = changed.measured.numbers, changed.reading, changed.writer
    entry = changed.measured.pair.after.entry
    return {
        "name": changed.name,
        "role": None if writer is None else writer.role,
        "layer": None if writer is None else writer.layer,
        "shape": list(entry.shape),
        "dtype": [changed.measured.pair.before.entry.dtype, entry.dtype],
        "form": reading.form,
        "changed_elements": numbers.changed,
        "elements": numbers.size,
        "relative": numbers.relative if numbers.before else None,
        "largest": numbers.largest,
        "cosine": numbers.cosine,
        "energy": numbers.energy,
        "rounding_energy": numbers.floor,
        "grid": numbers.grid,
        "rank": reading.rank,
        "stable_rank": reading.stable_rank,
        "spectrum": list(reading.spectrum),
        "energy_share": reading.share,
        "right_side_unexplained": None if reading.fit is None else reading.fit.rest,
    }
