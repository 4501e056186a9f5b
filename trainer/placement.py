"""Arrays over several devices: one mesh, data × model, and which slice a device holds.

    array                                                 slice
    encoder, decoder, every array with a row a feature    features over `model`
    rows of the buffer and of a batch                     rows over `data`
    decoder_bias, skip, scalars                           whole on every device

The mesh is the ambient one (`jax.set_mesh`, Auto axes): compiled code asks `count` how many slices there are,
XLA puts the collectives in. Without a mesh every function here leaves its argument as it is. Arrays of one
mesh may live in several processes (`jax.distributed`): `whole` and `place_rows` are then called by all of
them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, SingleDeviceSharding

from surgery.errors import SourceError
from trainer.settings import DeviceSettings

DATA, MODEL = "data", "model"
REPLICATED = {"decoder_bias", "skip"}
Tree = TypeVar("Tree")
_split: Callable[..., jax.sharding.PartitionSpec] = jax.sharding.PartitionSpec  # untyped in JAX
_constrain: Callable[..., Any] = jax.lax.with_sharding_constraint


@contextmanager
def over(devices: DeviceSettings) -> Iterator[None]:
    """While open, arrays are spread as `devices` says; one device is no mesh at all.

    Raises: SourceError when there are fewer devices than told.
    """
    wanted, found = devices.data * devices.model, jax.device_count()
    if wanted > found:
        raise SourceError(
            f"devices: {devices.data} x {devices.model} = {wanted} devices are asked for, JAX finds {found}"
            f" ({jax.default_backend()}); lower devices.data or devices.model"
        )
    if wanted == 1:
        yield
        return
    shape, kinds = (devices.data, devices.model), (AxisType.Auto, AxisType.Auto)
    mesh = jax.make_mesh(shape, (DATA, MODEL), axis_types=kinds, devices=jax.devices()[:wanted])
    with jax.set_mesh(mesh):
        yield


def count(axis: str) -> int:
    """Slices along `axis` of the ambient mesh, 1 without one; also inside compiled code."""
    return int(jax.sharding.get_abstract_mesh().shape.get(axis, 1))


def _spread() -> bool:
    return count(DATA) * count(MODEL) > 1


def _spec(path: tuple[Any, ...], leaf: Any) -> jax.sharding.PartitionSpec:
    names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
    if leaf.ndim == 0 or names & REPLICATED:
        return _split()
    return _split(DATA if "rows" in names else MODEL)


def shardings(tree: Any) -> Any:
    """The sharding of every array of a train state or a buffer, by its name."""
    if not _spread():
        one = SingleDeviceSharding(jax.devices()[0])
        return jax.tree.map(lambda _: one, tree)
    mesh = jax.sharding.get_mesh()
    return jax.tree_util.tree_map_with_path(lambda path, leaf: NamedSharding(mesh, _spec(path, leaf)), tree)


def made_in_place(make: Callable[..., Tree], *arrays: jax.Array) -> Tree:
    """`make(*arrays)`, a train state or a buffer, made in slices: no device ever holds the whole of it."""
    if not _spread():
        return make(*arrays)
    where = shardings(jax.eval_shape(make, *arrays))
    made: Tree = jax.jit(make, out_shardings=where)(*arrays)
    return made


def place_rows(rows: Any) -> Any:
    """Rows (n, d) or a mask (n,), the same in every process, spread over `data`; whole everywhere where n
    does not divide."""
    if not _spread():
        return rows
    even = rows.shape[0] % count(DATA) == 0
    spec = _split(DATA) if even else _split()
    return _put(rows, NamedSharding(jax.sharding.get_mesh(), spec))


def _put(array: Any, sharding: NamedSharding) -> jax.Array:
    if jax.process_count() == 1 or (isinstance(array, jax.Array) and not array.is_fully_addressable):
        placed: jax.Array = jax.device_put(array, sharding)
        return placed
    local = np.asarray(array)
    return jax.make_array_from_callback(local.shape, sharding, lambda index: local[index])


def keep_places(tree: Tree) -> Tree:
    """Inside compiled code: a train state, every array spread as its name says."""
    if not _spread():
        return tree
    kept: Tree = jax.tree_util.tree_map_with_path(
        lambda path, leaf: _constrain(leaf, _spec(path, leaf)), tree
    )
    return kept


def rows_over_data(rows: jax.Array) -> jax.Array:
    """Inside compiled code: (n, …) held in slices over `data`."""
    held: jax.Array = _constrain(rows, _split(DATA)) if _spread() else rows
    return held


def join(coordinator: str | None, processes: int | None, number: int | None) -> None:
    """Make this process one of several of one run (`jax.distributed`); before JAX is used for anything else.

    All None where JAX finds the others itself (TPU pod, SLURM, Open MPI). Raises: SourceError.
    """
    try:
        jax.distributed.initialize(coordinator, processes, number)
    except (ValueError, RuntimeError) as error:
        raise SourceError(
            f"the processes of this run cannot find each other: {error}; give --coordinator, --processes and"
            " --process"
        ) from error


def is_first() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def anywhere(here: bool) -> bool:
    """Whether `here` is true in any process; all of them must ask."""
    if jax.process_count() == 1:
        return here
    from jax.experimental.multihost_utils import process_allgather

    return bool(np.any(process_allgather(np.array(here))))


def whole(array: jax.Array) -> np.ndarray:
    """The whole array in host memory, wherever its slices are."""
    if isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated):
        replicated = NamedSharding(jax.sharding.get_mesh(), _split())
        array = jax.jit(lambda a: a, out_shardings=replicated)(array)
    return np.asarray(array)
