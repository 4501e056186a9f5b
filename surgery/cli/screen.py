"""The final screen of `surgery apply`: the recipe's sections as headings on the left, one fact a line beside
them.

Everything is laid out here for a given width and returned as lines; `console` prints them. Colour only
repeats what the words say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from surgery.cli.layout import HEADING, LABEL, NARROWEST, WIDEST, joined, labelled, section, wrapped
from surgery.cli.measurements import measurement_lines
from surgery.report.numbers import (
    MINUS,
    count,
    duration,
    fixed,
    part_of_size,
    short_count,
    tiny,
)
from surgery.report.statements import failed_gates
from surgery.report.text import one_line, shortened

if TYPE_CHECKING:
    from surgery.direction.find import Finding
    from surgery.direction.reconstruction import Feature, Reconstruction
    from surgery.direction.selection import Selection
    from surgery.report.report import EditFacts, Report


_FILES = ("README.md", "surgery/report.html", "surgery/surgery.lock.yaml")
"""What a person opens next, of all that was written."""


def report_lines(report: Report, width: int) -> list[Text]:
    """The whole screen for a terminal of `width` columns; no line is wider, down to 60."""
    width = max(NARROWEST, min(WIDEST, width))
    body = width - HEADING
    lines = [*_title(report, width), Text()]
    lines += finding_lines(report.directions, body)
    lines += section("edit", _edit(report.edit, body))
    if report.verification is not None:
        lines += section("verify", measurement_lines(report.verification, body))
    else:
        lines += section("verify", [Text("nothing was measured: the recipe has no verify section")])
    lines += section("output", _output(report, body))
    failed = [line for gate in failed_gates(report) for line in wrapped(gate, body)]
    return lines + (section("failed", [Text(line, style="bold red") for line in failed]) if failed else [])


def finding_lines(findings: Sequence[Finding], body: int) -> list[Text]:
    """Each direction, and what it was rebuilt from."""
    lines: list[Text] = []
    for finding in findings:
        lines += section("direction", _direction(finding, body))
        if finding.reconstruction is not None:
            lines += section("dictionary", _dictionary(finding.reconstruction, body))
    return lines


def _title(report: Report, width: int) -> list[Text]:
    model = report.model
    facts = [
        one_line(model.source),
        model.model_type,
        f"{model.n_layers} layers",
        f"d_model {model.d_model}",
        f"{short_count(model.n_parameters)} parameters",
    ]
    name = shortened(one_line(report.name), width)
    beside = " · ".join(facts)
    room = width - HEADING - LABEL
    if cell_len(name) < HEADING + LABEL and cell_len(beside) <= room:
        return [Text(name.ljust(HEADING + LABEL), style="bold") + Text(beside, style="not bold")]
    return [Text(name, style="bold"), *(Text(line) for line in joined(facts, width))]


def _direction(finding: Finding, body: int) -> list[Text]:
    room = body - LABEL
    parts = [finding.find.replace("_", " ")]
    if finding.n_train is not None:
        parts[0] += f", {finding.n_train[0]} + {finding.n_train[1]} prompts"
    if finding.original.origin.get("off_negative_mean"):
        parts.append("off the negative mean")
    lines = joined(parts, room)
    place = []
    if finding.original.hook_point is not None:
        place.append(str(finding.original.hook_point))
        if "position" in finding.original.origin:
            place[0] += f", position {_signed(finding.original.origin['position'])}"
    return labelled(finding.name, lines + joined(place + _scores(finding.selection), room), body)


def _scores(selection: Selection | None) -> list[str]:
    if selection is None:
        return []
    chosen = selection.chosen
    return [
        f"bypass {fixed(chosen.bypass, 1)}",
        f"induce {fixed(chosen.induce, 1)}",
        f"KL {fixed(chosen.kl, 2)}",
        f"{selection.n_passed} of {len(selection.candidates)} candidates pass",
    ]


def _dictionary(found: Reconstruction, body: int) -> list[Text]:
    point = found.point
    parts = [
        f"{count(found.n_features)} features",
        f"{found.method.replace('_', ' ')}, k = {point.k}",
        cosine_part(found),
    ]
    if found.note:
        parts.append(one_line(found.note))
    lines = labelled(found.dictionary, joined(parts, body - LABEL), body)
    others = joined(agreement_parts(found), body - LABEL)
    lines += [_feature(feature, found, body) for feature in found.features]
    return lines + (labelled("same features by", others, body) if others else [])


def cosine_part(found: Reconstruction) -> str:
    """`cosine 0.853 (random features 0.06 ± 0.04, random direction 0.21 ± 0.03)`."""
    point = found.point
    features, direction = (
        f"{fixed(mean, 2)} ± {fixed(spread, 2)}"
        for mean, spread in (point.random_features, point.random_direction)
    )
    return f"cosine {fixed(point.cosine)} (random features {features}, {found.chance} {direction})"


def agreement_parts(found: Reconstruction) -> list[str]:
    """How many of the features each other method chooses at the same k: `omp 2 of 2`."""
    return [
        f"{each.method.replace('_', ' ')} {each.shared} of {len(found.features)}" for each in found.agreement
    ]


def _feature(feature: Feature, found: Reconstruction, body: int) -> Text:
    """`#91   −0.68   "help me plan a …"  "how do i water the …"`, cut to the line."""
    wide = max(len(str(each.number)) for each in found.features) + 1
    start = f"#{feature.number}".ljust(wide) + fixed(feature.coefficient, 2, signed=True).rjust(8)
    examples = feature.examples[:2]
    start = start.ljust(LABEL) if examples else start
    room = (body - len(start) - 2 * (len(examples) - 1)) // max(1, len(examples)) - 2
    quoted = [f'"{_fitted(one_line(each.prompt), room)}"' for each in examples]
    return Text(start + "  ".join(quoted))


def _edit(edit: EditFacts, body: int) -> list[Text]:
    facts = []
    if edit.n_edits:
        some = (
            f"{edit.n_edits} writers"
            if edit.n_edits == edit.n_writers
            else f"{edit.n_edits} of {edit.n_writers} writers"
        )
        facts.append(f"{some}, {part_of_size(edit.edited_bytes, edit.total_bytes)}")
    if edit.proof is not None:
        word = "exact" if edit.proof.exact else "NOT PROVED"
        measured = "" if edit.proof.failed else f" on the twin ({tiny(edit.proof.max_component)})"
        facts.append(word + measured)
    if edit.audit is not None:
        facts.append(f"leak after writing ≤ {tiny(edit.audit.max_leak)}")
    steps = [one_line(step) for step in edit.steps]
    lines = joined([*steps, *facts], body) if len(steps) == 1 else [*steps, *joined(facts, body)]
    broken = [piece for line in lines for piece in wrapped(line, body)]
    return [
        Text(line)
        for line in broken + [piece for note in edit.notes for piece in wrapped(one_line(note), body)]
    ]


def _output(report: Report, body: int) -> list[Text]:
    lines = joined([one_line(report.output.folder), report.output.form, *_FILES], body)
    took = duration(report.seconds)
    if cell_len(lines[-1]) + 3 + len(took) <= body:
        lines[-1] += took.rjust(body - cell_len(lines[-1]))
    else:
        lines.append(took)
    return [Text(line) for line in lines]


def _fitted(text: str, width: int) -> str:
    """A text cut to a number of cells, which for wide characters are more than its length."""
    while cell_len(text) > width and len(text) > 1:
        text = shortened(text, min(len(text) - 1, width))
    return text


def _signed(number: object) -> str:
    return str(number).replace("-", MINUS)
