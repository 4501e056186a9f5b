"""One stream for several readers: what each gets, and how often a batch is run."""

from collections.abc import Iterator, Mapping

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import HookSettings
from trainer.feed import Harvest
from trainer.sharing import LIMIT, Shared

HOOKS = HookSettings(layer=0), HookSettings(layer=3, point="resid_post")
BATCHES = 5


def _shared(log: list[tuple[int, int]], readers: int) -> Shared:
    def several(number: int, start: int) -> Iterator[Mapping[HookSettings, Harvest]]:
        for batch in range(start, BATCHES):
            log.append((number, batch))
            yield {
                hook: (jnp.full((1, 1), 100.0 * number + batch + hook.layer / 10), np.ones(1, bool))
                for hook in HOOKS
            }

    return Shared(several, readers)


def _endless(shared: Shared, hook: HookSettings, number: int, start: int) -> Iterator[float]:
    while True:
        for rows, _ in shared.passes(hook)(number, start):
            yield round(float(rows[0, 0]), 1)
        number, start = number + 1, 0


def test_a_batch_that_all_take_in_turns_is_run_once() -> None:
    log: list[tuple[int, int]] = []
    shared = _shared(log, 2)
    readers = [_endless(shared, hook, 0, 0) for hook in HOOKS]
    found = [[next(reader) for reader in readers] for _ in range(3 * BATCHES)]
    assert found[:2] == [[0.0, 0.3], [1.0, 1.3]] and found[-1] == [204.0, 204.3]
    assert log == [(number, batch) for number in range(3) for batch in range(BATCHES)]


@given(
    turns=st.lists(st.integers(0, 1), max_size=60),
    begins=st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, BATCHES))] * 2),
)
def test_what_a_reader_gets_never_depends_on_the_others(
    turns: list[int], begins: tuple[tuple[int, int], ...]
) -> None:
    shared = _shared([], 2)
    together = [_endless(shared, hook, *at) for hook, at in zip(HOOKS, begins, strict=True)]
    alone = [_endless(_shared([], 1), hook, *at) for hook, at in zip(HOOKS, begins, strict=True)]
    for turn in turns:
        assert next(together[turn]) == next(alone[turn])
        assert len(shared._kept) <= LIMIT
