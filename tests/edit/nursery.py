"""A process that forks one writer of a result at a time, to be killed: python nursery.py SOURCE SECONDS.

Each line of its standard input names a target; it answers with the writer's process id, then with how that
ended. Importing torch for each of fifty writers would take longer than all they write.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch

from surgery.checkpoint.layout import open_checkpoint
from surgery.checkpoint.staging import resumable_folder
from surgery.edit import executor, progression, projector, spans, tiles
from surgery.edit.identity import work_identity
from tests.edit.edit_sources import plan_for


def slow_down(seconds: float) -> None:
    """Sleep before every range, every piece of a tensor and every hash, so that a kill meets all of them."""
    for module, name in (
        (executor, "copy_range"),
        (progression, "feed_range"),
        (projector, "store_tile"),
        (projector, "store_strip"),
        (progression, "flush"),
    ):
        real = getattr(module, name)

        def late(*arguments: object, _real: object = real, **options: object) -> object:
            time.sleep(seconds)
            return _real(*arguments, **options)  # type: ignore[operator]

        setattr(module, name, late)


def write(source: Path, target: Path) -> None:
    """Write, or go on writing, the result of one fixed plan."""
    checkpoint = open_checkpoint(source)
    plan = plan_for(checkpoint, rounding="feedback" if "feedback" in target.name else "nearest")
    identity = work_identity(plan, checkpoint)
    with resumable_folder(target, needed_bytes=plan.total_bytes, identity=identity, resume=True) as staging:
        executor.execute(plan, checkpoint, staging.folder, journal=staging.journal, workers=3)


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main() -> None:
    source, seconds = Path(sys.argv[1]), float(sys.argv[2])
    torch.set_num_threads(1)
    tiles.TILE_ELEMENTS, tiles.STRIP_ELEMENTS, spans.COPY_BYTES = 300, 600, 4000
    slow_down(seconds)
    _say(0)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                write(source, Path(line.rstrip("\n")))
                os._exit(0)
            except BaseException as error:  # the parent is told; nothing may run twice in the child
                sys.stderr.write(f"{error!r}\n")
                os._exit(1)
        _say(child)
        _say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
