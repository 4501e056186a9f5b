"""When data is held once, when it streams, and how much is taken."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgery.errors import SourceError
from trainer.config import BufferSettings
from trainer.feed import Feed, Passes

SIZE = 4


def _passes(batches: int, log: list[int], keep: bool = True) -> Passes:
    def one_pass(number: int, start: int) -> Iterator[tuple[jax.Array, np.ndarray]]:
        log.append(number)
        for batch in range(start, batches):
            yield jnp.full((SIZE, 2), 100.0 * number + batch), np.full(SIZE, keep)

    return one_pass


def _filled(passes: Passes, settings: BufferSettings) -> Feed:
    feed = Feed(passes, settings)
    list(feed.filling())
    return feed


def test_data_that_fits_is_harvested_once() -> None:
    log: list[int] = []
    feed = _filled(_passes(3, log), BufferSettings(capacity=64))
    for step in range(50):
        feed.draw(jax.random.key(step), 8)
    assert (feed.holds_all, feed.harvested, log) == (True, 12, [0])
    assert set(np.asarray(feed.draw(jax.random.key(0), 200))[:, 0].tolist()) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize("reuse", [1, 4])
def test_fresh_tokens_follow_what_was_drawn(reuse: int) -> None:
    log: list[int] = []
    feed = _filled(_passes(5, log), BufferSettings(capacity=8, reuse=reuse))
    assert feed.harvested == 8
    for step in range(40):
        feed.draw(jax.random.key(step), 8)
    assert feed.harvested == 8 + 40 * 8 // reuse
    assert log == list(range(len(log))) and len(log) > 1  # pass after pass, each with a number of its own


def test_empty_data_is_an_error() -> None:
    with pytest.raises(SourceError, match="holds no text"):
        _filled(_passes(0, []), BufferSettings(capacity=8))
    with pytest.raises(SourceError, match="left out"):
        _filled(_passes(2, [], keep=False), BufferSettings(capacity=64))


def test_first_rows_are_the_filled_ones() -> None:
    feed = _filled(_passes(1, []), BufferSettings(capacity=64))
    assert feed.first_rows(1000).shape == (SIZE, 2)
    assert feed.first_rows(2).shape == (2, 2)
