"""One stream of forward passes for several dictionaries: each batch is run once and kept until all took it.

The dictionaries take their steps in turn, so what is kept is about what one step takes. One that wants a
batch no longer kept (a run resumed from a checkpoint older than the others') gets it from a pass of its own:
what a dictionary sees never depends on the others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count

from trainer.config import HookSettings
from trainer.feed import Harvest, Passes

LIMIT = 16  # batches kept
Part = Mapping[HookSettings, Harvest]
Place = tuple[int, int]  # number of the pass, of the batch in it


class Shared:
    """`several(number, start)`, a pass over all hook points, handed to `readers` dictionaries."""

    def __init__(self, several: Callable[[int, int], Iterable[Part]], readers: int) -> None:
        self._several, self._readers = several, readers
        self._stream: Iterator[Part] = iter(())
        self._next: Place | None = None  # what the stream gives next
        self._kept: dict[Place, Part | None] = {}  # None behind the last batch of a pass
        self._taken: dict[Place, int] = {}

    def passes(self, hook: HookSettings) -> Passes:
        """The stream of one dictionary, as a feed wants it."""

        def one_pass(number: int, start: int) -> Iterator[Harvest]:
            for batch in count(start):
                part = self._take((number, batch))
                if part is None:
                    return
                yield part[hook]

        return one_pass

    def _take(self, place: Place) -> Part | None:
        if place not in self._kept:
            self._run(place)
        part = self._kept[place]
        self._taken[place] += 1
        if self._taken[place] == self._readers:
            self._drop(place)
        return part

    def _run(self, place: Place) -> None:
        if place != self._next:
            self._stream = iter(self._several(*place))
        self._kept[place], self._taken[place] = next(self._stream, None), 0
        self._next = (place[0], place[1] + 1)
        if len(self._kept) > LIMIT:
            self._drop(next(iter(self._kept)))

    def _drop(self, place: Place) -> None:
        del self._kept[place], self._taken[place]
