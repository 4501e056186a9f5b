"""The steps of a run, from a fresh start or from a checkpoint.

One line of `metrics.jsonl` every `log_every` steps. There, and before each checkpoint, the loss and the
weights are checked: a number that is not finite ends the run with `DivergenceError`, and
`last_good.safetensors` in the unfinished folder holds the arrays of the last check before.
"""

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from surgery.errors import SourceError, SurgeryError
from trainer.array_file import write_arrays
from trainer.checkpoint import Checkpoint, orbax, save_checkpoint
from trainer.config import Config
from trainer.feed import Feed
from trainer.interruption import InterruptedRun, Stop, never
from trainer.journal import Progress, Report, append
from trainer.normalization import Scales, estimate_scales, fold
from trainer.placement import anywhere, made_in_place, whole
from trainer.precision import unpack
from trainer.save import LAST_GOOD
from trainer.step import Numbers, TrainState, initial_state, make_step, split

FIRST_TOKENS = 65_536  # how many tokens the scales and the decoder bias are estimated on
Arrays = dict[str, np.ndarray]  # of a dictionary, named as in `trainer.parameters`, in host memory


class DivergenceError(SurgeryError):
    """The loss or a weight is no longer a finite number."""


@dataclass(frozen=True)
class Trained:
    """What the steps leave: arrays for scaled activations, and the scales."""

    arrays: Arrays
    scales: Scales
    tokens_harvested: int


Steps = Generator[int, None, Trained]


def start(feed: Feed, config: Config, d_in: int) -> Checkpoint:
    """A run before its first step. Raises: SourceError when the first activations are not all finite."""
    rows = whole(feed.first_rows(FIRST_TOKENS))
    if not np.isfinite(rows).all():
        raise SourceError(
            f"hook: {config.model.source} gives numbers at {config.hook.point} of layer {config.hook.layer}"
            " that are not finite; write model.dtype: float32, or another hook"
        )
    first = split(jnp.asarray(rows), d_in, config.dictionary)
    scales = estimate_scales(*first)
    key = jax.random.split(jax.random.key(config.seed))[0]
    make = partial(initial_state, config=config)
    state = made_in_place(make, key, first[0] * scales.read, first[1] * scales.write)
    return Checkpoint(0, 0.0, scales, feed.cursor, state, feed.buffer)


def in_turns(runs: Sequence[Steps]) -> list[Trained]:
    """All steps of several runs, always one of that which is furthest behind.

    Raises: DivergenceError of the first run that ends so; InterruptedRun when all have saved.
    """
    behind: dict[int, int] = dict.fromkeys(range(len(runs)), -1)
    trained: dict[int, Trained] = {}
    stopped: InterruptedRun | None = None
    while behind:
        place = min(behind, key=lambda each: behind[each])
        try:
            behind[place] = next(runs[place])
        except StopIteration as end:
            trained[place] = end.value
            del behind[place]
        except InterruptedRun as error:
            stopped = stopped or error
            del behind[place]
    if stopped is not None:
        raise stopped
    return [trained[place] for place in range(len(runs))]


def steps(
    feed: Feed, config: Config, folder: Path, begin: Checkpoint, saves: Path | None = None, *,
    report: Report | None = None, stop: Stop = never,
) -> Steps:  # fmt: skip
    """The steps after `begin`, on what `feed` draws; the number of each when it is done, at last what they
    leave. Lines go to `folder`, checkpoints too unless `saves`, the same in every process, names another.

    Raises: DivergenceError; OutputError; InterruptedRun when `stop` said so, after saving.
    """
    saves = saves or folder
    if config.training.save_every is not None:
        orbax()  # what is missing must not be found out hours later
    training, draw_key = config.training, jax.random.split(jax.random.key(config.seed))[1]
    run, good, started = begin, _copied(begin.state), time.perf_counter() - begin.seconds
    yield run.step
    advance = make_step(config.dictionary, training, begin.scales)
    while run.step < training.steps:
        rows = feed.draw(jax.random.fold_in(draw_key, run.step + 1), training.batch)
        state, numbers = advance(run.state, rows)
        seconds = time.perf_counter() - started
        run = replace(run, step=run.step + 1, seconds=seconds, state=state)
        last = run.step == training.steps
        due = training.save_every is not None and run.step % training.save_every == 0
        logged = run.step % training.log_every == 0 or last
        # several processes must stop after the same step, and ask each other only now and then
        asked = stop()
        stopped = anywhere(asked) if jax.process_count() == 1 or logged or due else False
        if logged or due or stopped:
            good = _checked(run, numbers, good, folder)
        if logged:
            _tell(run, numbers, config, folder, report)
        if due or (stopped and not last) or (last and training.save_every is not None):
            save_checkpoint(saves, replace(run, cursor=feed.cursor, buffer=feed.buffer), config)
        if stopped and not last:
            raise InterruptedRun(f"stopped after step {run.step}; saved in {saves}; go on with --resume")
        yield run.step
    return Trained(good, begin.scales, feed.harvested)


def _tell(run: Checkpoint, numbers: Numbers, config: Config, folder: Path, report: Report | None) -> None:
    measured = {name: float(value) for name, value in numbers.items()}
    rate = run.step * config.training.batch / run.seconds
    progress = Progress(run.step, config.training.steps, measured, run.seconds, rate)
    append(folder, progress)
    if report is not None:
        report(progress)


def _copied(state: TrainState) -> Arrays:
    return {name: np.array(whole(array), copy=True) for name, array in unpack(state.parameters).items()}


def _checked(run: Checkpoint, numbers: Numbers, good: Arrays, folder: Path) -> Arrays:
    """A copy of the run's arrays, out of the memory that the next step reuses.

    Raises: DivergenceError when the loss or an array is not finite; `good` is then saved.
    """
    parameters, loss = _copied(run.state), float(numbers["loss"])
    if math.isfinite(loss) and all(np.isfinite(array).all() for array in parameters.values()):
        return parameters
    kept = folder / LAST_GOOD
    last = fold({name: jnp.asarray(array) for name, array in good.items()}, run.scales)
    write_arrays(kept, {name: np.asarray(array) for name, array in last.items()})
    raise DivergenceError(
        f"step {run.step}: the loss ({loss:g}) or a weight is no longer a finite number; the arrays of the"
        f" last check before are kept in {kept}; lower training.learning_rate"
    )
