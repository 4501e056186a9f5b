"""A run in the middle, in a folder that orbax writes: everything that the next step depends on.

`checkpoint/N` holds the arrays of the train state and of the buffer after step N, every process its own
slices, and the scales, the data cursor and the config. Random keys follow from the seed and the number of the
step, so there is no state of a generator. Orbax renames the folder when all of it is written, and removes the
one before only then: a process that is killed while writing leaves the checkpoint before.

    train 20 steps  =  train 10, save, load, train 10        bit for bit, on the same machine and devices
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from surgery.errors import OutputError
from trainer.buffer import Buffer, zeros
from trainer.config import Config
from trainer.feed import Cursor
from trainer.normalization import Scales
from trainer.placement import shardings
from trainer.step import TrainState, initial_state, split

CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps."""

    step: int
    seconds: float  # spent so far
    scales: Scales
    cursor: Cursor
    state: TrainState
    buffer: Buffer


def _differences(told: Any, wanted: Any, place: str = "") -> Iterator[str]:
    """Where two configs, as plain data, say something else."""
    if isinstance(told, dict) and isinstance(wanted, dict):
        for key in told | wanted:
            dotted = f"{place}.{key}" if place else key
            yield from _differences(told.get(key), wanted.get(key), dotted)
    elif told != wanted:
        yield f"{place} was {told!r}, is {wanted!r}"


def save_checkpoint(folder: Path, checkpoint: Checkpoint, config: Config) -> None:
    """Write the checkpoint into `folder`, in place of an earlier one; all processes of a run call this.

    Raises: OutputError.
    """
    facts = {
        "seconds": checkpoint.seconds,
        "scales": list(checkpoint.scales),
        "cursor": asdict(checkpoint.cursor),
        "width": checkpoint.buffer.rows.shape[1],
        "config": _told(config),
    }
    args, path = orbax().args, folder / CHECKPOINT
    arrays = args.StandardSave((checkpoint.state, checkpoint.buffer))
    try:
        with _manager(path) as manager:
            manager.save(checkpoint.step, args=args.Composite(arrays=arrays, facts=args.JsonSave(facts)))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rsplit(": ", 1)[-1]
        raise OutputError(
            f"{path}: cannot be written: {reason}; free some space and go on with --resume"
        ) from error


def load_checkpoint(folder: Path, config: Config) -> Checkpoint | None:
    """The checkpoint in `folder`, or None where there is none; over as many devices as the config says now.

    Raises: OutputError when it cannot be read, or belongs to another config.
    """
    path = folder / CHECKPOINT
    if not path.is_dir():
        return None
    args = orbax().args
    try:
        with _manager(path) as manager:
            step = manager.latest_step()
            if step is None:  # killed while writing the first
                return None
            facts = manager.restore(step, args=args.Composite(facts=args.JsonRestore())).facts
            if changed := list(_differences(facts["config"], _told(config))):
                raise OutputError(
                    f"{path}: belongs to another config ({'; '.join(changed)}); go on with the one it was"
                    " begun with, or start over with --overwrite"
                )
            wanted = args.StandardRestore(_template(config, facts["width"]))
            state, buffer = manager.restore(step, args=args.Composite(arrays=wanted)).arrays
            scales, cursor = Scales(*facts["scales"]), Cursor(**facts["cursor"])
            return Checkpoint(step, facts["seconds"], scales, cursor, state, buffer)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path}: not a checkpoint: {error}; start over with --overwrite") from error


def orbax() -> Any:
    """The package. Raises: OutputError where it is not installed."""
    try:
        package = import_module("orbax.checkpoint")
    except ImportError as error:
        raise OutputError(
            f"a run is saved and resumed by orbax-checkpoint: {error}; pip install 'surgery[trainer]'"
        ) from error
    # what goes wrong is raised; it logs each of its threads' tracebacks as well
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    return package


def _manager(path: Path) -> Any:
    package = orbax()
    options = package.CheckpointManagerOptions(
        max_to_keep=1, cleanup_tmp_directories=True, enable_async_checkpointing=False
    )
    return package.CheckpointManager(path.absolute(), options=options)


def _told(config: Config) -> dict[str, Any]:
    """All of a config that its steps depend on."""
    return config.model_dump(
        mode="json",
        exclude={"devices": True, "data": {"held_out"}, "training": {"log_every", "save_every"}},
    )


def _template(config: Config, width: int) -> Any:
    """Shapes, dtypes and slices of (state, buffer) for rows of this width."""

    def build() -> tuple[TrainState, Buffer]:
        rows = jnp.zeros((2, width), jnp.float32)
        x, target = split(rows, width // 2, config.dictionary)
        return initial_state(jax.random.key(0), x, target, config), zeros(config.buffer.capacity, width)

    shapes = jax.eval_shape(build)
    return jax.tree.map(lambda leaf, place: leaf.update(sharding=place), shapes, shardings(shapes))
