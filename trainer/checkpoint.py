"""A run in the middle, as one file: everything that the next step depends on.

`checkpoint.safetensors` holds the arrays of the train state and of the buffer; its header holds the number of
the step, the scales, the data cursor and the config. Random keys follow from the seed and the
number of the step, so there is no state of a generator. The file is written beside its place and renamed, so
a process that is killed while writing leaves the checkpoint before.

    train 20 steps  =  train 10, save, load, train 10        bit for bit, on the same machine
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from surgery.errors import OutputError
from trainer.array_file import write_arrays
from trainer.buffer import Buffer, empty
from trainer.config import Config
from trainer.feed import Cursor
from trainer.normalization import Scales
from trainer.placement import place, whole
from trainer.step import TrainState, initial_state, split

CHECKPOINT = "checkpoint.safetensors"


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
    """Write the checkpoint into `folder`, in place of an earlier one; of several processes the first writes.

    Raises: OutputError.
    """
    facts = {
        "step": checkpoint.step,
        "seconds": checkpoint.seconds,
        "scales": list(checkpoint.scales),
        "cursor": asdict(checkpoint.cursor),
        "width": checkpoint.buffer.rows.shape[1],
        "config": config.model_dump(mode="json"),
    }
    staging = folder / (CHECKPOINT + ".partial")
    arrays = _named((checkpoint.state, checkpoint.buffer))
    if jax.process_index() > 0:
        return
    try:
        write_arrays(staging, arrays, {"run": json.dumps(facts)})
        staging.replace(folder / CHECKPOINT)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{staging}: cannot be written: {error}; free some space") from error


def load_checkpoint(folder: Path, config: Config) -> Checkpoint | None:
    """The checkpoint in `folder`, or None where there is none.

    Raises: OutputError when it cannot be read, or belongs to another config.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["run"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise OutputError(f"{path}: not a checkpoint: {error}; start over with --overwrite") from error
    if changed := list(_differences(facts["config"], config.model_dump(mode="json"))):
        raise OutputError(
            f"{path}: belongs to another config ({'; '.join(changed)}); go on with the one it was begun with,"
            " or start over with --overwrite"
        )
    state, buffer = place(_filled(_template(config, facts["width"]), arrays, path))
    scales, cursor = Scales(*facts["scales"]), Cursor(**facts["cursor"])
    return Checkpoint(facts["step"], facts["seconds"], scales, cursor, state, buffer)


def _template(config: Config, width: int) -> Any:
    """Shapes and dtypes of (state, buffer) for rows of this width."""

    def build() -> tuple[TrainState, Buffer]:
        rows = jnp.zeros((2, width), jnp.float32)
        x, target = split(rows, width // 2, config.dictionary)
        return initial_state(jax.random.key(0), x, target, config), empty(config.buffer.capacity, width)

    return jax.eval_shape(build)


def _named(tree: Any) -> dict[str, np.ndarray]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): whole(leaf) for path, leaf in leaves}


def _filled(template: Any, arrays: dict[str, np.ndarray], path: Path) -> Any:
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    found = []
    for key, leaf in leaves:
        array = arrays.get(jax.tree_util.keystr(key))
        if array is None or array.shape != leaf.shape or array.dtype != leaf.dtype:
            raise OutputError(
                f"{path}: {jax.tree_util.keystr(key)} is missing or of another shape; start over with"
                " --overwrite"
            )
        found.append(jnp.array(array, copy=True))  # a donated array must own its memory
    return jax.tree.unflatten(structure, found)
