"""Batches for the steps: a shuffle buffer, filled from passes over the data and topped up as it is used.

A pass that ends before the buffer is full means that all data fits: it is held once and drawn from until the
end. Otherwise every drawn token owes 1/reuse fresh ones, which are written in whole harvested batches, pass
after pass. `Cursor` is all that a later process needs to go on as if nothing had happened.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np

from surgery.errors import SourceError
from trainer import buffer as ring
from trainer.config import BufferSettings
from trainer.placement import place_rows

Harvest = tuple[jax.Array, np.ndarray]  # rows (n, d) and which of them count (n,) bool; n the same every time
# number of the pass, batches to leave out at its start -> the rest of that pass, in an order of its own
Passes = Callable[[int, int], Iterable[Harvest]]


@dataclass(frozen=True)
class Cursor:
    """Where a feed stands, beside what its buffer holds."""

    owed: float  # fresh tokens that drawing has earned
    harvested: int  # tokens written so far, repeats included
    number: int  # of the running pass
    taken: int  # batches of it that were written
    holds_all: bool  # whether the whole data stands in the buffer


class Feed:
    """Draws random tokens; holds the buffer, the running pass and what is owed to the buffer."""

    def __init__(
        self, passes: Passes, settings: BufferSettings, resumed: tuple[ring.Buffer, Cursor] | None = None
    ) -> None:
        """Of a new feed `filling` must be gone through before anything is drawn."""
        self._passes, self._settings = passes, settings
        self.buffer: ring.Buffer
        self.cursor = Cursor(0.0, 0, 0, 0, False)
        if resumed is not None:
            self.buffer, self.cursor = resumed
        self._stream = iter(passes(self.cursor.number, self.cursor.taken))

    @property
    def capacity(self) -> int:
        """Tokens that the buffer has room for."""
        return self._settings.capacity

    @property
    def holds_all(self) -> bool:
        """Whether the whole data stands in the buffer."""
        return self.cursor.holds_all

    @property
    def harvested(self) -> int:
        """Tokens written so far, repeats included."""
        return self.cursor.harvested

    def _write(self, harvest: Harvest) -> int:
        rows, keep = harvest
        self.buffer = ring.write(self.buffer, place_rows(rows), place_rows(keep))
        count, cursor = int(keep.sum()), self.cursor
        self.cursor = replace(cursor, harvested=cursor.harvested + count, taken=cursor.taken + 1)
        return count

    def filling(self) -> Iterator[None]:
        """Fill the buffer of a new feed, batch by batch."""
        first = next(self._stream, None)
        if first is None:
            raise SourceError("data.train holds no text; name a source that is not empty")
        self.buffer = ring.empty(self._settings.capacity, int(first[0].shape[1]))
        self._write(first)
        yield
        while self.harvested < self._settings.capacity:
            harvest = next(self._stream, None)
            if harvest is None:
                self.cursor = replace(self.cursor, holds_all=True)
                break
            self._write(harvest)
            yield
        if self.harvested == 0:
            raise SourceError(
                "every token of data.train was left out; loosen skip_special_tokens or norm_outliers"
            )

    def first_rows(self, count: int) -> jax.Array:
        """The first `count` filled rows (≤ count, d), for the input scale and the decoder bias."""
        return self.buffer.rows[: min(count, int(self.buffer.filled))]

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """`count` random tokens (count, d), float32 and raw."""
        if not self.holds_all:
            self.cursor = replace(self.cursor, owed=self.cursor.owed + count / self._settings.reuse)
            self._top_up()
        drawn: jax.Array = ring.sample(self.buffer, key, count)
        return drawn

    def _top_up(self) -> None:
        while self.cursor.owed >= 1:
            # a batch of masked rows only must not stall the run
            written = max(1, self._write(self._next_harvest()))
            self.cursor = replace(self.cursor, owed=self.cursor.owed - written)

    def _next_harvest(self) -> Harvest:
        harvest = next(self._stream, None)
        if harvest is None:
            self.cursor = replace(self.cursor, number=self.cursor.number + 1, taken=0)
            self._stream = iter(self._passes(self.cursor.number, 0))
            harvest = next(self._stream)
        return harvest
