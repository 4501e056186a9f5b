"""The rank of a change that a narrow sketch only shows as 'many': a wider sketch, one more pass.

The rank is the number of singular values above what rounding does; it is told only where the rest of the
change is no more than rounding, so that a fine-tune whose spectrum falls slowly has none.
"""

from __future__ import annotations

from surgery.compare.measure import Measured, measure
from surgery.compare.reading import is_rounding, outside_of, rank_of
from surgery.linalg.sketch import spectrum_of

MOST_RANK = 144
"""Ranks of adapters that people merge: up to 128."""
_SPARE = 16
_LOW = 0.5


def measured_rank(measured: Measured) -> int | None:
    """The rank of one tensor's change, None where it is not low.

    Raises:
        CheckpointError: a file ends too early.
    """
    view = measured.view
    smaller = min(view.d, view.n)
    columns = min(smaller, MOST_RANK + _SPARE)
    wide = measure(measured.pair, view.axis, columns=columns)
    spectrum = spectrum_of(wide.change)
    rank = rank_of(wide, spectrum)
    if not 1 <= rank <= min(_LOW * smaller, MOST_RANK):
        return None
    return rank if is_rounding(outside_of(wide, spectrum, rank), wide.numbers) else None
