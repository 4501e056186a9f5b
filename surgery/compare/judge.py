"""From evidence to a verdict: every changed tensor is explained by exactly one kind of edit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from surgery.compare.ablation import ablation_verdict
from surgery.compare.evidence import Evidence
from surgery.compare.matrices import other_verdicts
from surgery.compare.reading import ABLATIONS
from surgery.compare.shared import Changed
from surgery.compare.verdict import Kind, Verdict

_UNRELATED = 0.5


def judge(evidence: Evidence) -> Verdict:
    """What kind of edit explains the evidence.

    Raises:
        CheckpointError: a file ends too early while a writer is looked at again.
    """
    if _is_another_model(evidence):
        return _another_model(evidence)
    parts = [*_stored_otherwise(evidence), *_changed(evidence), *_rest(evidence)]
    if not parts:
        moved = {"tensors_in_another_file": evidence.moved} if evidence.moved else {}
        return Verdict("repacked" if moved else "identical", facts=moved)
    if len(parts) == 1:
        return parts[0]
    return Verdict("several", tuple(name for part in parts for name in part.tensors), parts=tuple(parts))


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
            each.pair.name: [each.pair.before.entry.shape[0], each.pair.after.entry.shape[0]]
            for each in grown
        }
        vocabulary = [each for each in grown if _is_vocabulary(evidence, each.pair.name)]
        kind: Kind = "embedding_resize" if len(vocabulary) == len(grown) else "unknown"
        parts.append(Verdict(kind, tuple(rows), facts={"rows": rows, "common_rows": "identical"}))
    if evidence.untied is not None:
        facts = {"new_tensor": evidence.untied, "it_holds": "the embedding of A, byte for byte"}
        parts.append(Verdict("untied_embedding", (evidence.untied,), facts=facts))
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
    added = [entry.name for entry in pairing.added if entry.name != evidence.untied]
    removed = [entry.name for entry in pairing.removed]
    opaque = [pair.name for pair in evidence.opaque]
    if added and all(name.endswith(".bias") for name in added) and not (removed or reshaped or opaque):
        lengths = {name: float(np.linalg.norm(each)) for name, each in evidence.new_biases.items()}
        facts: dict[str, Any] = {
            "added_tensors": len(added),
            **({"length_added": lengths} if lengths else {}),
        }
        return [Verdict("bias_addition", tuple(added), facts=facts)]
    unexplained = {"added": added, "removed": removed, "reshaped": reshaped, "not_numbers": opaque}
    found = {key: value for key, value in unexplained.items() if value}
    names = tuple(name for value in found.values() for name in value)
    return [Verdict("unknown", names, facts=found)] if found else []


def _changed(evidence: Evidence) -> list[Verdict]:
    """Verdicts on tensors whose values changed."""
    changed = evidence.changed
    if not changed:
        return []
    matrices = [each for each in changed if each.reading.form not in ("vector", "opaque")]
    if len(matrices) > evidence.identical and _median_cosine(matrices) < _UNRELATED:
        return [_different_base(evidence, changed)]
    ablated = [each for each in matrices if each.reading.form in ABLATIONS]
    rest = [each for each in changed if each.reading.form not in ABLATIONS]
    parts = []
    if ablated:
        part = ablation_verdict(evidence, ablated, rest)
        explained = set(part.tensors) if part is not None else set()
        rest = [each for each in (*ablated, *rest) if each.name not in explained]
        parts += [part] if part is not None else []
    return parts + other_verdicts(rest)


def _is_another_model(evidence: Evidence) -> bool:
    """Whether nothing is the same, and most tensors stand in one of the two only or have another shape."""
    alone = len(evidence.pairing.added) + len(evidence.pairing.removed)
    unlike = alone + sum(not each.same_prefix for each in evidence.resized)
    return not evidence.identical and 2 * unlike > len(evidence.pairing.pairs) + alone


def _another_model(evidence: Evidence) -> Verdict:
    pairing = evidence.pairing
    facts = {
        "tensors_of_the_same_name": len(pairing.pairs),
        "of_another_shape": len(evidence.resized),
        "only_before": len(pairing.removed),
        "only_after": len(pairing.added),
    }
    return Verdict("different_base", tuple(pair.name for pair in pairing.pairs), facts=facts)


def _median_cosine(changed: Sequence[Changed]) -> float:
    return median(each.measured.numbers.cosine for each in changed)


def _different_base(evidence: Evidence, changed: Sequence[Changed]) -> Verdict:
    facts = {
        "median_cosine": _median_cosine(changed),
        "changed_tensors": len(changed),
        "identical": evidence.identical,
    }
    return Verdict("different_base", tuple(each.name for each in changed), facts=facts)
