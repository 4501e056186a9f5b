"""The screen of `surgery diff`: base, what changed, verdict with its evidence, direction, files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from surgery.cli.layout import HEADING, NARROWEST, WIDEST, section, wrapped
from surgery.compare.sentences import base_sentence, cosine_words, headline, left_out_sentence, proofs
from surgery.report.numbers import count, tiny
from surgery.report.text import one_line, shortened

if TYPE_CHECKING:
    from surgery.compare.diff import Diff
    from surgery.compare.nearest import Nearest
    from surgery.compare.shared import Changed

_MOST_LINES = 24


def diff_lines(
    diff: Diff,
    nearest: Sequence[Nearest],
    cosines: Mapping[str, tuple[float, ...]],
    *,
    tensors: bool,
    width: int,
) -> list[Text]:
    """The whole screen, for a terminal of `width` columns."""
    body = max(NARROWEST, min(WIDEST, width)) - HEADING

    def part(heading: str, sentences: Sequence[str]) -> list[Text]:
        lines = [Text(line) for sentence in sentences for line in wrapped(sentence, body, indent="  ")]
        return section(heading, lines)

    lines = part("base", [base_sentence(diff)])
    lines += part("changed", _changed(diff))
    lines += part("verdict", [headline(diff.verdict)])
    lines += part("evidence", proofs(diff.verdict))
    lines += part("direction", _neighbours(nearest, cosines))
    if tensors:
        lines += part("tensors", [_tensor(each) for each in diff.evidence.changed])
    return lines + part("files", _files(diff))


def _changed(diff: Diff) -> list[str]:
    found = diff.evidence
    lines = []
    if found.changed:
        roles = Counter(_role(each) for each in found.changed)
        parts = ", ".join(f"{count(number)} {role}" for role, number in roles.items())
        lines.append(f"{count(len(found.changed))} tensor{'s' * (len(found.changed) != 1)}: {parts}")
        lines.append(left_out_sentence(diff))
    for word, number in (
        ("stored in another type, nothing else", len(found.cast)),
        ("of another shape", len(found.resized)),
        ("only in AFTER", len(found.pairing.added)),
        ("only in BEFORE", len(found.pairing.removed)),
        ("changed, and no numbers", len(found.opaque)),
        ("in a file of another name", found.moved),
    ):
        if number:
            lines.append(f"{count(number)} {word}")
    return lines or ["nothing"]


def _role(changed: Changed) -> str:
    writer = changed.writer
    if writer is None:
        return "readers"
    return ("bias of " if writer.bias else "") + writer.role.replace("_", " ")


def _neighbours(nearest: Sequence[Nearest], cosines: Mapping[str, tuple[float, ...]]) -> list[str]:
    lines = [f"cosine {cosine_words(values)} with {one_line(name)}" for name, values in cosines.items()]
    for each in nearest:
        first = ", ".join(f"#{number} {cosine:+.2f}" for number, cosine in each.features)
        code = " + ".join(str(number) for number in each.code)
        lines.append(f"{each.cosine:.2f} along features {code} of {one_line(each.dictionary)}")
        lines.append(f"nearest single features: {first}")
    return lines


def _tensor(changed: Changed) -> str:
    numbers = changed.measured.numbers
    share = 100 * numbers.changed / max(numbers.size, 1)
    times = numbers.energy / numbers.floor if numbers.floor else float("inf")
    return (
        f"{one_line(changed.name)}  {changed.reading.form.replace('_', ' ')},"
        f" relative {tiny(numbers.relative)}, cosine {numbers.cosine:.5f}, max {tiny(numbers.largest)},"
        f" {share:.0f} % of elements, {tiny(times)} × rounding, stable rank {changed.reading.stable_rank:.1f}"
    )


def _files(diff: Diff) -> list[str]:
    files = diff.evidence.files
    if not files:
        return ["all side files identical"]
    lines = []
    for each in files:
        lines.append(f"{one_line(each.name)}  {each.status}")
        if each.matters:
            lines += [f"  {shortened(one_line(line), 90)}" for line in each.lines[:_MOST_LINES]]
    return lines
