"""Which features are dead, against the rule counted out batch by batch."""

import jax.numpy as jnp
import numpy as np
import pytest

from trainer.config import TrainingSettings
from trainer.firing import after_step, dead_features, unknown

BATCH, WINDOW, M = 8, 4, 5


@pytest.mark.parametrize("rare_below", [None, 0.1])
def test_dead_is_silent_for_long_or_rare_in_the_last_window(rare_below: float | None) -> None:
    training = TrainingSettings(
        steps=1, batch=BATCH, dead_after=5 * BATCH, rare_below=rare_below, rare_window=WINDOW
    )
    rng, state, seen = np.random.default_rng(0), unknown(M), np.zeros((0, M), int)
    for step in range(1, 40):
        # never; at step 3 only; once in five batches; now and then; always
        active = np.array([0, 8 * (step == 3), step % 5 == 0, rng.integers(0, 3), BATCH])
        state = after_step(state, jnp.asarray(active, jnp.int32), jnp.int32(step), training)
        seen = np.vstack([seen, active])
        expected = np.zeros(M, bool)
        for feature in range(M):
            fired = np.flatnonzero(seen[:, feature])
            since = step - (fired[-1] + 1) if len(fired) else step
            expected[feature] = since > 5
        if rare_below is not None and step >= WINDOW:
            last = step // WINDOW * WINDOW
            share = seen[last - WINDOW : last].sum(0) / (WINDOW * BATCH)
            expected |= share < rare_below
        np.testing.assert_array_equal(dead_features(state, training), expected, err_msg=str(step))
    assert expected[0] and expected[1] and expected[2] is np.bool_(rare_below is not None)
    assert not expected[4]
