"""How a number is written, once for the terminal, the page and the card.

A share is shown in percent, its change in percentage points; a mean in nats keeps three decimals. Minus is
U+2212, so that a column of signed numbers lines up. What was not measured is shown as a dash, never as a
zero.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surgery.verify.gates import GateResult
    from surgery.verify.rows import Row
    from surgery.verify.statistics import Estimate

NOTHING = "–"
MINUS = "−"


def count(number: int) -> str:
    """`1,024`."""
    return f"{number:,}"


def items(row: Row) -> str:
    """How many items a row is of: `300`; `2 → 298` where base and edited are not of the same ones."""
    one_number = row.base is None or row.n_base in (None, row.n)
    return count(row.n) if one_number else f"{count(row.n_base or 0)} → {count(row.n)}"


def short_count(number: int) -> str:
    """`512`, `1.9 M`, `70.6 B`."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)


def size(n_bytes: int) -> str:
    """`980 B`, `1.2 MB`, `141.1 GB` (powers of ten)."""
    for factor, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.1f} {unit}"
    return f"{n_bytes} B"


def part_of_size(part: int, whole: int) -> str:
    """`1.2 of 3.7 MB`; with both units where they differ."""
    small, large = size(part), size(whole)
    return f"{small.split()[0]} of {large}" if small.split()[1] == large.split()[1] else f"{small} of {large}"


def duration(seconds: float) -> str:
    """`0.4 s`, `41 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def fixed(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number with a fixed number of decimals; a dash for None and for what is not finite."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0.0:
        return text
    return f"{MINUS if value < 0 else '+' if signed else ''}{text}"


def plain(value: float) -> str:
    """A number as a person would write it: `1`, `0.5`, `−2`."""
    return f"{value:g}".replace("-", MINUS)


def tiny(value: float | None) -> str:
    """A number of any size in few characters: `0`, `8e-8`, `0.03`, `3,200`."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if abs(value) >= 100:
        return f"{value:,.0f}".replace("-", MINUS)
    if value == 0.0 or abs(value) >= 0.01:
        return f"{value:.2g}".replace("-", MINUS)
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa.replace('-', MINUS)}e{int(exponent)}"


def level(value: float | None, unit: str) -> str:
    """A measured value: `93.5 %` of a share, `0.021` in nats."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if unit == "share":
        return f"{fixed(100 * value, 1)} %"
    return fixed(value, 3) if value == 0 or abs(value) >= 0.001 else tiny(value)


def difference(value: float | None, unit: str) -> str:
    """A change: `−0.5` percentage points of a share, `+0.021` nats."""
    if unit == "share":
        return fixed(None if value is None else 100 * value, 1)
    return fixed(value, 3, signed=True)


def interval(estimate: Estimate, unit: str) -> str:
    """The 95 % interval of a change: `[−2.1, 1.1]`."""
    return f"[{difference(estimate.low, unit)}, {difference(estimate.high, unit)}]"


def estimate(side: Estimate | None, unit: str) -> str:
    """A side of a row with its interval: `93.5 % [89.2, 96.2]`."""
    if side is None:
        return NOTHING
    low, high = (level(end, unit).removesuffix(" %") for end in (side.low, side.high))
    return f"{level(side.value, unit)} [{low}, {high}]"


def change(row: Row) -> str:
    """The change of a row with its interval; for a row without one, what is known beside it."""
    if row.change is None:
        return spread(row)
    return f"{difference(row.change.value, row.unit)} {interval(row.change, row.unit)}"


def spread(row: Row) -> str:
    """How far single items go, where the row knows: `p95 0.11, max 0.35`."""
    return ", ".join(
        f"{name} {level(row.detail[name], row.unit)}" for name in ("p95", "max") if name in row.detail
    )


def details(row: Row) -> str:
    """Everything a row holds beside its numbers: `perplexity base 3.41, perplexity edited 3.42`."""
    return ", ".join(
        f"{name.replace('_', ' ')} {_detail(name, value, row.unit)}" for name, value in row.detail.items()
    )


def probability(value: float) -> str:
    """A p-value: `p = 0.031`, `p < 0.001`."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def verdict(gate: GateResult, row: Row) -> str:
    """`pass`; with the end of the interval where that was held; `inconclusive, needs n ≥ 180`."""
    if gate.verdict == "inconclusive":
        return gate.verdict if gate.needed_n is None else f"inconclusive, needs n ≥ {count(gate.needed_n)}"
    if gate.bound == "point":
        return gate.verdict
    end = gate.held.high if gate.bound == "upper95" else gate.held.low
    shown = difference(end, row.unit) if gate.held == row.change else level(end, row.unit)
    return f"{gate.verdict}, {'upper' if gate.bound == 'upper95' else 'lower'} 95 % end {shown}"


def _detail(name: str, value: float, unit: str) -> str:
    if name.endswith("p_value"):
        return probability(value).removeprefix("p ").removeprefix("= ")
    if name.startswith(("degenerate", "likelier")):
        return level(value, "share")
    if name == "tokens":
        return count(int(value))
    return (
        fixed(value, 2 if name.startswith("perplexity") else 3)
        if unit == "nats" and "_" in name
        else level(value, unit)
    )
