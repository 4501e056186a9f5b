"""A verdict in words: what it is, and the numbers that led to it, one sentence each.

Terminal, page and card say the same; nothing is said here that is not in the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from itertools import groupby
from statistics import median
from typing import Any

from surgery.compare.diff import Diff
from surgery.compare.probe import Norms
from surgery.compare.verdict import Verdict
from surgery.model.anatomy import Writer

_KINDS = {
    "identical": "identical: every tensor has the same bytes",
    "repacked": "the same tensors, byte for byte, in other files",
    "bias_addition": "bias addition: vectors were added where the model writes a bias",
    "dense_fine_tune": "dense change (a fine-tune or a merge)",
    "requantisation": "requantisation: the same weights, rounded to another format",
    "embedding_resize": "embedding resize: rows were added or taken away, the others are identical",
    "untied_embedding": "untied embedding: the unembedding is now a tensor of its own and holds what it held",
    "different_base": "another base: B was not made from this A",
    "unknown": "unknown: the numbers fit no kind of edit that is known here",
}
_FORMS = {
    "ablation": "orthogonal (not norm-preserving)",
    "oblique_ablation": "oblique: projected between rows of unit length, so the direction stays in part",
    "row_norm_preserving_ablation": "oblique, with the length of every row kept",
    "column_norm_preserving_ablation": "with the length of every column kept",
}
_VERBS = {
    "removed": "the component is removed",
    "weakened": "the component is weakened",
    "inverted": "the component is turned to the other side",
    "strengthened": "the component is strengthened",
    "mixed": "strengths differ from writer to writer",
}
_GONE = "; the writers write nothing any more along one direction, as after an ablation"
_NOTHING = 0.1
_NORMS = "norms against an orthogonal ablation:"


def headline(verdict: Verdict) -> str:
    """What kind of edit it was, in one line."""
    if verdict.parts:
        return f"{len(verdict.parts)} kinds of edit: " + "; ".join(headline(part) for part in verdict.parts)
    if verdict.kind in _FORMS:
        return _ablation_headline(verdict)
    if verdict.kind == "low_rank":
        rank = verdict.facts["rank"]
        return f"low-rank change (LoRA-like), rank {rank}: the right sides are no ablation's"
    return _KINDS[verdict.kind] + (_GONE if _is_gone(verdict) else "")


def _is_gone(verdict: Verdict) -> bool:
    """Whether, beside another change, the writers lost what they wrote along one direction."""
    left = verdict.facts.get("component_left_along_them")
    return left is not None and left < _NOTHING


def proofs(verdict: Verdict) -> list[str]:
    """The numbers that led to a verdict, a sentence each."""
    if verdict.parts:
        return [line for part in verdict.parts for line in (f"{headline(part)}:", *proofs(part))]
    if verdict.kind in _FORMS:
        return _ablation_proofs(verdict)
    return [_fact(name, value) for name, value in verdict.facts.items() if value is not None and value != []]


def base_sentence(diff: Diff) -> str:
    """Whether B was made from this A, as far as bytes can say."""
    found = diff.evidence
    said = f"{found.identical:,} of {len(found.pairing.pairs):,} tensors identical"
    if diff.verdict.kind == "different_base":
        return f"another base: {said}"
    if found.anatomy is None:
        return said
    parts = [part for part in diff.verdict.single if part.kind == "requantisation"]
    rounded = set(found.anatomy.readers) & {name for part in parts for name in part.tensors}
    differ = {each.name for each in found.changed_readers} - rounded | set(found.lost_readers)
    if differ:
        return (
            f"{said}; {len(differ):,} of {len(found.anatomy.readers):,} readers differ,"
            " so B was trained further, merged, or made from another revision of A"
        )
    if rounded:
        return f"{said}; the readers are those of A in another format: B was made from this A"
    return f"{said}, every reader among them: B was made from this A"


def left_out_sentence(diff: Diff) -> str:
    """Which writers an edit did not touch."""
    anatomy = diff.evidence.anatomy
    if anatomy is None:
        return "the writers of this family are not in the tables, so no ablation could be recognised"
    left = set(diff.evidence.left_out)
    if not left:
        return "every writer" + (" among them" if diff.evidence.changed_readers else ", and nothing else")
    if len(left) == len(anatomy.writers):
        return "no writer"
    parts = [
        _left_out(role, [writer for writer in anatomy.writers if writer.role == role], left)
        for role in dict.fromkeys(writer.role for writer in anatomy.writers if writer.tensor in left)
    ]
    edited = len(anatomy.writers) - len(left)
    return f"{edited:,} of {len(anatomy.writers):,} writers; left out: {', '.join(parts)}"


def cosine_words(values: Sequence[float]) -> str:
    """Cosines of a vector with orthonormal directions, and with their span where they are several."""
    said = ", ".join(f"{value:.4f}" for value in values)
    return said if len(values) < 2 else f"{said} (all of them together {math.hypot(*values):.4f})"


def _left_out(role: str, writers: Sequence[Writer], left: Set[str]) -> str:
    """Writers of one role: how many, and of which layers where it is not all of them."""
    gone = [writer for writer in writers if writer.tensor in left]
    said = f"{len(gone):,} {role.replace('_', ' ')}"
    layers = sorted({writer.layer for writer in gone if writer.layer is not None})
    return said if len(gone) == len(writers) or not layers else f"{said} (layers {_ranges(layers)})"


def _ranges(layers: Sequence[int]) -> str:
    """0, 3–5 of 0, 3, 4, 5."""
    runs = [
        [layer for _, layer in run] for _, run in groupby(enumerate(layers), lambda each: each[1] - each[0])
    ]
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _ablation_headline(verdict: Verdict) -> str:
    rank = verdict.facts["directions_per_writer"]
    count = "one direction" if rank == 1 else f"{rank} directions"
    whose = count if verdict.shared is not None else f"{count} of its own in each writer"
    mean, spread = verdict.facts["strength_mean"], verdict.facts["strength_spread"]
    strength = f"strength {_signed(mean, 2)} ± {spread:.2f}"
    if verdict.kind != "ablation":
        middle = median(value for each in verdict.strengths.values() for value in each)
        strength = f"strength about {_signed(middle, 1)}"
    effect = _VERBS[verdict.effect or "mixed"]
    return f"directional ablation of {whose}, {strength} ({effect}), {_FORMS[verdict.kind]}"


def _ablation_proofs(verdict: Verdict) -> list[str]:
    facts = verdict.facts
    lines = [
        f"residual-side vectors of {facts['writers']:,} writers agree to {facts['agreement']:.4f}"
        + ("" if verdict.shared is not None else ", so no direction is shared"),
        f"{100 * facts['energy_along_it_above_rounding']:.2f} % of the change above rounding lies along them",
        f"right sides are the writers' own components up to {100 * facts['right_side_unexplained']:.2g} %",
    ]
    if verdict.effect == "mixed":
        lines.append(_from_to(verdict.strengths))
    for found in verdict.probes:
        norms = found.norms
        lines.append(
            f"{found.tensor}: strength {_signed(found.strength, 3)},"
            f" what is left {found.leak:.4f} of the component"
            + ("" if norms is None else f"; {_NORMS} {_norms(norms)}")
        )
    return lines


def _norms(norms: Norms) -> str:
    return f"columns {_signed(norms.columns, 2)}, rows {_signed(norms.rows, 2)}"


def _from_to(strengths: Mapping[str, Sequence[float]]) -> str:
    """The weakest and the strongest edit, and where."""
    low, high = (
        pick((value, name) for name, values in strengths.items() for value in values) for pick in (min, max)
    )
    return f"strengths from {_signed(low[0], 2)} ({low[1]}) to {_signed(high[0], 2)} ({high[1]})"


def _fact(name: str, value: Any) -> str:
    words = name.replace("_", " ")
    if isinstance(value, Mapping):
        shown = [f"{key} {_number(each)}" for key, each in list(value.items())[:6]]
        more = f", and {len(value) - 6} more" if len(value) > 6 else ""
        return f"{words}: {', '.join(shown)}{more}"
    if isinstance(value, list):
        more = f", and {len(value) - 6} more" if len(value) > 6 else ""
        return f"{words}: {', '.join(map(str, value[:6]))}{more}"
    return f"{words}: {_number(value)}"


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def _number(value: Any) -> str:
    if isinstance(value, list):
        return " → ".join(_number(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
