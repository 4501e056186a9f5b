"""The ring against a deque: the same rows in, the newest ones kept."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import buffer as ring

WRITE = 5


@settings(max_examples=30)
@given(st.integers(WRITE, 9), st.lists(st.lists(st.booleans(), min_size=WRITE, max_size=WRITE), max_size=8))
def test_holds_the_newest_kept_rows(capacity: int, masks: list[list[bool]]) -> None:
    buffer, newest, number = ring.empty(capacity, 2), deque[int](maxlen=capacity), 0
    for mask in masks:
        values = np.arange(number + 1, number + WRITE + 1)
        number += WRITE
        rows = np.repeat(values[:, None], 2, axis=1).astype(np.float32)
        buffer = ring.write(buffer, jnp.asarray(rows), jnp.asarray(mask))
        newest.extend(values[mask].tolist())
    held = np.asarray(buffer.rows[: int(buffer.filled), 0])
    assert sorted(held.tolist()) == sorted(newest)
    assert int(buffer.filled) == len(newest)
    assert not np.asarray(
        buffer.rows[int(buffer.filled) :]
    ).any()  # masked rows are dropped, not written as zeros


def test_more_rows_than_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        ring.write(ring.empty(3, 2), jnp.ones((4, 2)), jnp.ones(4, bool))


def test_sample_draws_every_filled_row_and_no_other() -> None:
    buffer = ring.write(ring.empty(8, 1), jnp.arange(1.0, 6.0)[:, None], jnp.ones(5, bool))
    drawn = np.asarray(ring.sample(buffer, jax.random.key(0), 500))[:, 0]
    assert set(drawn.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    np.testing.assert_array_equal(drawn, np.asarray(ring.sample(buffer, jax.random.key(0), 500))[:, 0])
