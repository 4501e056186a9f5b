"""Batches for the steps: a shuffle buffer, filled from passes over the data and topped up as it is used.

A pass that ends before the buffer is full means that all data fits: it is held once and drawn from until the
end. Otherwise every drawn token owes 1/reuse fresh ones, which are written in whole harvested batches, pass
after pass.
"""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np

from surgery.errors import SourceError
from trainer import buffer as ring
from trainer.config import BufferSettings

Harvest = tuple[jax.Array, np.ndarray]  # rows (n, d) and which of them count (n,) bool; n the same every time
Passes = Callable[[int], Iterable[Harvest]]  # number of the pass -> one pass over the data, freshly shuffled


class Feed:
    """Draws random tokens; holds the buffer, the running pass and what is owed to the buffer."""

    def __init__(self, passes: Passes, settings: BufferSettings) -> None:
        self._passes, self._settings = passes, settings
        self._owed = 0.0
        self.harvested = 0  # tokens written so far, repeats included
        self._stream: Iterator[Harvest] | None = iter(passes(0))
        self._next_pass = 1
        self._buffer: ring.Buffer
        self._fill(self._stream)

    @property
    def d_model(self) -> int:
        """Width of a row."""
        return int(self._buffer.rows.shape[1])

    @property
    def holds_all(self) -> bool:
        """Whether the whole data stands in the buffer."""
        return self._stream is None

    def _write(self, harvest: Harvest) -> None:
        rows, keep = harvest
        self._buffer = ring.write(self._buffer, rows, keep)
        self.harvested += int(keep.sum())

    def _fill(self, stream: Iterator[Harvest]) -> None:
        first = next(stream, None)
        if first is None:
            raise SourceError("data.train holds no text; name a source that is not empty")
        self._buffer = ring.empty(self._settings.capacity, int(first[0].shape[1]))
        self._write(first)
        while self.harvested < self._settings.capacity:
            harvest = next(stream, None)
            if harvest is None:
                self._stream = None
                break
            self._write(harvest)
        if self.harvested == 0:
            raise SourceError(
                "every token of data.train was left out; loosen skip_special_tokens or norm_outliers"
            )

    def first_rows(self, count: int) -> jax.Array:
        """The first `count` filled rows (≤ count, d), for the input scale and the decoder bias."""
        return self._buffer.rows[: min(count, int(self._buffer.filled))]

    def draw(self, key: jax.Array, count: int) -> jax.Array:
        """`count` random tokens (count, d), float32 and raw."""
        if not self.holds_all:
            self._owed += count / self._settings.reuse
            self._top_up()
        drawn: jax.Array = ring.sample(self._buffer, key, count)
        return drawn

    def _top_up(self) -> None:
        while self._owed >= 1:
            before = self.harvested
            self._write(self._next_harvest())
            # a batch of masked rows only must not stall the run
            self._owed -= max(1, self.harvested - before)

    def _next_harvest(self) -> Harvest:
        harvest = next(self._stream, None) if self._stream is not None else None
        if harvest is None:
            self._stream = iter(self._passes(self._next_pass))
            self._next_pass += 1
            harvest = next(self._stream)
        return harvest
