"""The plan of `surgery apply --dry-run`: which tensors change, how, and why; what it costs.

Tensors that differ only in their layer share a line, so that a model of eighty layers fits on a screen;
plan.json and `--json` name every one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from surgery.cli.layout import HEADING, NARROWEST, WIDEST, section, wrapped
from surgery.cli.screen import finding_lines
from surgery.cli.tensor_names import name_of_all, numberless
from surgery.report.numbers import count, part_of_size, plain, size
from surgery.report.text import one_line

if TYPE_CHECKING:
    from surgery.direction.find import Finding
    from surgery.edit.plan import Plan, TensorEdit

_LAYER = re.compile(r"\blayer \d+\b")


def plan_lines(
    plan: Plan,
    width: int,
    *,
    findings: Sequence[Finding] = (),
    additions: Sequence[str] = (),
    form: str = "checkpoint",
) -> list[Text]:
    """The directions and the whole plan for a terminal of `width` columns; `additions` are sentences, `form`
    is the recipe's."""
    width = max(NARROWEST, min(WIDEST, width))
    body = width - HEADING
    groups: dict[tuple[object, ...], list[TensorEdit]] = {}
    for edit in plan.edits:
        groups.setdefault(_alike(edit), []).append(edit)
    lines: list[Text] = []
    for edits in groups.values():
        lines += _group(edits, body)
    total = f"{count(len(plan.edits))} tensors, {part_of_size(plan.edited_bytes, plan.total_bytes)}"
    lines += [Text(line) for addition in additions for line in wrapped(one_line(addition), body)]
    lines = [*finding_lines(findings, body), *section("edit", lines or [Text("nothing")])]
    if form == "peft":
        lines += section("output", [Text("a PEFT adapter; the model's own files stay as they are")])
    else:
        lines += section("total", [Text(f"{total}, rounding {plan.rounding}")])
        lines += section("disk", [Text(f"{size(plan.total_bytes)} for a whole checkpoint")])
    notes = [Text(line) for note in plan.notes for line in wrapped(one_line(note), body)]
    return lines + (section("note", notes) if notes else []) + [Text("nothing was written.")]


def _alike(edit: TensorEdit) -> tuple[object, ...]:
    """What edits on one line have in common."""
    return (
        edit.role,
        edit.bias,
        edit.layer is None,
        numberless(edit.tensor),
        edit.residual_axis,
        edit.dtype,
        edit.shape,
        edit.directions,
        edit.strengths,
        edit.gain is None,
    )


def _group(edits: list[TensorEdit], body: int) -> list[Text]:
    first = edits[0]
    number = f"{len(edits)} × " if len(edits) > 1 else ""
    name = one_line(name_of_all([edit.tensor for edit in edits]))
    shape = " × ".join(map(str, first.shape))
    steps = ", ".join(
        f"{name} {plain(strength)}" for name, strength in zip(first.directions, first.strengths, strict=True)
    )
    n_bytes = size(sum(edit.end - edit.start for edit in edits))
    facts = (
        f"{number}{first.role} · axis {first.residual_axis} of {shape} {first.dtype} · {n_bytes} · {steps}"
    )
    why = _LAYER.sub("its layer", first.why) if len(edits) > 1 else first.why
    return [
        Text(line, style=style)
        for text, style in ((name, "bold"), (facts, ""), (why, ""))
        for line in _indented(text, body, "" if text is name else "  ")
    ]


def _indented(text: str, width: int, indent: str) -> list[str]:
    return [indent + line for line in wrapped(text, width - len(indent))]
