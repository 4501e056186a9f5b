"""The screen of `surgery anatomy`: writers by role, what stands behind each, readers, proof.

Tensors that differ only in their numbers (layer, expert) share a line; `--json` names every one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from surgery.cli.layout import HEADING, NARROWEST, WIDEST, section, wrapped
from surgery.cli.tensor_names import name_of_all, numberless
from surgery.edit.plan_record import gain_as_json
from surgery.report.numbers import count
from surgery.report.text import one_line

if TYPE_CHECKING:
    from surgery.edit.proof import Proof
    from surgery.model.anatomy import Anatomy, Gain, Writer

    Shapes = Mapping[str, tuple[int, ...]]

HEADINGS = {"embedding": "embedding", "attention_out": "attention", "mlp_out": "mlp"}
"""Role → its heading."""


def anatomy_lines(
    model: str, anatomy: Anatomy, shapes: Shapes, proof: Proof | None, *, width: int
) -> list[Text]:
    """The whole screen, for a terminal of `width` columns."""
    body = max(NARROWEST, min(WIDEST, width)) - HEADING
    head = (
        f"{one_line(model)} · {anatomy.family} · {anatomy.n_layers} layers · d_model {count(anatomy.d_model)}"
    )
    lines = [Text(head, style="bold"), Text("")]
    for role, heading in HEADINGS.items():
        writers = [writer for writer in anatomy.writers if writer.role == role]
        lines += section(heading, [line for each in _groups(writers) for line in _group(each, shapes, body)])
    total = f"{count(len(anatomy.writers))} writers, {count(len(anatomy.readers))} readers (never edited)"
    lines += section("total", [Text(total)])
    tied = "yes: the embedding is also the unembedding" if anatomy.tied else "no"
    lines += section("tied", [Text(tied)])
    return lines + section("proof", [Text(line) for line in wrapped(_proof(proof), body)])


def anatomy_as_json(model: str, anatomy: Anatomy, shapes: Shapes, proof: Proof | None) -> dict[str, Any]:
    """The same as plain data, with every writer by name."""
    return {
        "model": model,
        "family": anatomy.family,
        "model_type": anatomy.model_type,
        "n_layers": anatomy.n_layers,
        "d_model": anatomy.d_model,
        "tied": anatomy.tied,
        "writers": [_as_json(writer, shapes) for writer in anatomy.writers],
        "readers": list(anatomy.readers),
        "proof": None
        if proof is None
        else {
            "exact": proof.exact,
            "max_component": proof.max_component,
            "base_component": proof.base_component,
            "hook_points": proof.n_hook_points,
            "unproved": list(proof.unproved),
            "approximate": proof.approximate,
            "image_features": proof.n_image_features,
        },
    }


def between(gain: Gain | None) -> str:
    """What stands between a writer and the stream, in words."""
    if gain is None:
        return "nothing between it and the stream"
    return "behind it the " + ", then the ".join(_norm(each) for each in gain.chain())


def _norm(gain: Gain) -> str:
    factor = "its weight" if gain.offset == 0 else f"{gain.offset:g} + its weight"
    if gain.taps:
        return f"convolution over positions {gain.tensor}"
    return f"{gain.kind} {gain.name}, whose gain is {factor}"


def _as_json(writer: Writer, shapes: Shapes) -> dict[str, Any]:
    return {
        "tensor": writer.tensor,
        "role": writer.role,
        "layer": writer.layer,
        "shape": list(shapes[writer.tensor]),
        "residual_axis": writer.residual_axis,
        "gain": gain_as_json(writer.gain),
        "bias": writer.bias,
        "tied": writer.tied,
    }


def _groups(writers: Sequence[Writer]) -> list[list[Writer]]:
    groups: dict[tuple[object, ...], list[Writer]] = {}
    for writer in writers:
        gain = None if writer.gain is None else numberless(writer.gain.tensor)
        key = (numberless(writer.tensor), writer.residual_axis, gain, writer.tied)
        groups.setdefault(key, []).append(writer)
    return list(groups.values())


def _group(writers: Sequence[Writer], shapes: Shapes, body: int) -> list[Text]:
    first = writers[0]
    number = f"{count(len(writers))} × " if len(writers) > 1 else ""
    sizes = sorted({shapes[writer.tensor] for writer in writers})
    shape = " or ".join(" × ".join(map(str, size)) for size in sizes)
    tied = " · tied" if first.tied else ""
    what = "bias" if first.bias else f"axis {first.residual_axis}"
    facts = f"{number}{what} of {shape}{tied} · {between(first.gain)}"
    name = one_line(name_of_all([writer.tensor for writer in writers]))
    return [
        *(Text(line, style="bold") for line in wrapped(name, body)),
        *(Text("  " + line) for line in wrapped(facts, body - 2)),
    ]


def _proof(proof: Proof | None) -> str:
    if proof is None:
        return "not run (--no-proof)"
    verdict = "exact" if proof.exact else "NOT exact"
    if proof.approximate is not None:
        verdict = f"APPROXIMATE ({proof.approximate}); measured"
    if proof.unproved:
        verdict = (
            f"NOT proved for {', '.join(proof.unproved)}, which the twin does not have; otherwise measured"
        )
    return (
        f"{verdict} on the twin: after every writer is edited, the largest component along a random direction"
        f" is {proof.max_component:.1e} of the stream's length over {proof.n_hook_points} hook points;"
        f" before, it was {proof.base_component:.2f}"
    )
