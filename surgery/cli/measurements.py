"""The table of measurements on the terminal: base, edited, change with its interval, n, gate.

    refusal, harmful   100.0 %    0.0 %  −100.0 [−100.0, −96.3]  100  ≤ 5 %   pass, ≤ 3.6 %

Numbers stand right-aligned in columns. Where a terminal is too narrow for the gates, each stands on a line
of its own under its row; a label that is too long for what is left stands on one above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from surgery.cli.layout import wrapped
from surgery.report.numbers import NOTHING, count, difference, level, spread, verdict
from surgery.report.statements import topic_note
from surgery.report.text import one_line

if TYPE_CHECKING:
    from surgery.verify.gates import GateResult
    from surgery.verify.rows import Row
    from surgery.verify.verification import Verification

STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}
_GAP = "  "
_NARROWEST_VERDICT = 13


@dataclass(frozen=True)
class _Columns:
    """Width of each column in cells."""

    label: int
    base: int
    edited: int
    value: int
    low: int
    high: int
    note: int
    n: int
    gate: int

    @property
    def change(self) -> int:
        return max(self.value + self.low + self.high + 5, self.note, len("change (95 %)"))

    @property
    def numbers(self) -> int:
        """Everything up to and with n."""
        return self.label + self.base + self.edited + self.change + self.n + 4 * len(_GAP)


def measurement_lines(measured: Verification, body: int) -> list[Text]:
    """The table, then who told refusals, then what a reader must know."""
    rows = [*measured.rows, *measured.controls]
    if not rows:
        return [Text("nothing was measured")]
    from surgery.verify.suites import SUITES

    columns = _columns(rows, body)
    room = body - columns.numbers - columns.gate - 2 * len(_GAP)
    lines = [_header(columns, gates_beside=room >= _NARROWEST_VERDICT)]
    for row in rows:
        lines += _row(row, columns, room, body)
    if any(SUITES[row.suite].detected for row in measured.rows):
        lines += [Text(line) for line in wrapped(f"refusals by {measured.detector_note}", body, indent="  ")]
    if topic := topic_note(rows):
        lines += [Text(line) for line in wrapped(topic, body, indent="  ")]
    for note in measured.notes:
        lines += [Text(line, style="yellow") for line in wrapped(one_line(note), body, indent="  ")]
    return lines


def _columns(rows: Sequence[Row], body: int) -> _Columns:
    changes = [(row.change, row.unit) for row in rows if row.change is not None]

    def widest(texts: list[str], least: int = 0) -> int:
        return max([*map(cell_len, texts), least])

    found = _Columns(
        label=0,
        base=widest([_side(row, "base") for row in rows], len("base")),
        edited=widest([_side(row, "edited") for row in rows], len("edited")),
        value=widest([difference(change.value, unit) for change, unit in changes]),
        low=widest([difference(change.low, unit) for change, unit in changes]),
        high=widest([difference(change.high, unit) for change, unit in changes]),
        note=widest([_note(row) for row in rows if row.change is None]),
        n=widest([count(row.n) for row in rows]),
        gate=widest([row.gate.text for row in rows if row.gate is not None], len("gate")),
    )
    beside = [length for row in rows if (length := cell_len(row.label)) <= body - found.numbers]
    return replace(found, label=max(beside, default=len(_GAP)))


def _header(columns: _Columns, *, gates_beside: bool) -> Text:
    cells = [
        " " * columns.label,
        "base".rjust(columns.base),
        "edited".rjust(columns.edited),
        "change (95 %)".ljust(columns.change),
        "n".rjust(columns.n),
    ]
    return Text(_GAP.join([*cells, "gate"] if gates_beside else cells), style="dim")


def _row(row: Row, columns: _Columns, room: int, body: int) -> list[Text]:
    above = [Text(row.label)] if cell_len(row.label) > columns.label else []
    cells = [
        ("" if above else row.label).ljust(columns.label),
        _side(row, "base").rjust(columns.base),
        _side(row, "edited").rjust(columns.edited),
        _change(row, columns),
        count(row.n).rjust(columns.n),
    ]
    line = Text(_GAP.join(cells))
    if row.gate is None:
        return [*above, line]
    if room < _NARROWEST_VERDICT:
        sentence = f"  gate {row.gate.text}: {_verdict(row.gate, row)}"
        return [*above, line, *(_coloured(each, row.gate) for each in wrapped(sentence, body, indent="    "))]
    told = _broken(_verdict(row.gate, row), room)
    lines = [
        *above,
        line + Text(f"{_GAP}{row.gate.text.ljust(columns.gate)}{_GAP}") + _coloured(told[0], row.gate),
    ]
    indent = " " * (columns.numbers + columns.gate + 2 * len(_GAP))
    return lines + [Text(indent) + _coloured(each.strip(), row.gate) for each in told[1:]]


def _broken(text: str, width: int) -> list[str]:
    """A verdict on one line, or broken after its first word: `inconclusive,` `needs n ≥ 180`."""
    first, comma, rest = text.partition(", ")
    return [text] if cell_len(text) <= width or not rest else [first + comma.strip(), *wrapped(rest, width)]


def _side(row: Row, side: str) -> str:
    estimate = row.base if side == "base" else row.edited
    return "" if estimate is None else level(estimate.value, row.unit)


def _note(row: Row) -> str:
    """What stands where there is no change: the spread, or of how many items each side is."""
    if row.base is None or row.n_base in (None, row.n):
        return spread(row)
    return f"of {row.n_base} and of {row.n}"


def _change(row: Row, columns: _Columns) -> str:
    if row.change is None:
        return _note(row).ljust(columns.change)
    value, low, high = (
        difference(end, row.unit).rjust(width)
        for end, width in (
            (row.change.value, columns.value),
            (row.change.low, columns.low),
            (row.change.high, columns.high),
        )
    )
    return f"{value} [{low}, {high}]".ljust(columns.change)


def _verdict(gate: GateResult, row: Row) -> str:
    """As everywhere, but short where the end of an interval was held: `pass, ≤ 3.6 %`."""
    if gate.verdict != "pass" or gate.bound == "point":
        return gate.verdict if gate.verdict == "fail" else verdict(gate, row)
    end = verdict(gate, row).rsplit("end ", 1)[-1]
    return gate.verdict if end == NOTHING else f"pass, {'≤' if gate.bound == 'upper95' else '≥'} {end}"


def _coloured(text: str, gate: GateResult) -> Text:
    """The verdict's word in its colour; the words stand there without it as well."""
    line = Text(text)
    line.highlight_words([gate.verdict], STYLES[gate.verdict])
    return line
