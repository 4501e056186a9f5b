"""How long one step takes, beside the roof: the matrix products that no dense step can do without.

    roof = π = x Wᵉᵀ,  x̂ = h Wᵈ,  ∂Wᵈ = hᵀ e,  ∂h = e Wᵈᵀ,  ∂Wᵉ = ∂πᵀ x          five products, 10·b·d·m FLOP

A step is everything: loss, gradient, optimiser, unit rows. Beside it stands one large square product, the
peak of the device at the precision of products that JAX is set to (`JAX_DEFAULT_MATMUL_PRECISION`). Times are
CPU time of the process on a CPU, where other work on the machine would show in wall time, and wall time
elsewhere. Other libraries get the same data and initial weights by a file, in an environment of their own.
"""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surgery.errors import SourceError
from trainer.architectures.topk import tied_start
from trainer.config import TrainingSettings
from trainer.firing import unknown
from trainer.kinds import DictionarySettings, ReluSettings, TopkSettings
from trainer.normalization import Scales
from trainer.optimizer import initial_moments
from trainer.parameters import Parameters
from trainer.step import held, make_step

PEERS = Path(__file__).parents[1] / "benchmarks" / "trainer_peers.py"


@dataclass(frozen=True)
class Problem:
    """One batch and the weights that every implementation begins with."""

    x: jax.Array  # (batch, d_model)
    parameters: Parameters
    k: int


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one step over all repetitions, and the loss of the first."""

    name: str
    least: float
    median: float
    teraflops: float | None  # per second at the least time, where matrix products are nearly all of it
    first_loss: float | None


def make_problem(d_model: int, n_features: int, batch: int, k: int, seed: int = 0) -> Problem:
    """Gaussian activations, and unit rows that encoder and decoder share."""
    data_key, start_key = jax.random.split(jax.random.key(seed))
    x = jax.random.normal(data_key, (batch, d_model))
    return Problem(x, tied_start(start_key, x, n_features), k)


def write_problem(problem: Problem, path: Path) -> None:
    """The problem as .npz: x, k and the parameters by name."""
    arrays: dict[str, Any] = {name: np.asarray(array) for name, array in problem.parameters.items()}
    np.savez(path, x=np.asarray(problem.x), k=np.array(problem.k), **arrays)


def time_peers(problem: Problem, python: Path) -> str:
    """A table of the TopK steps of other libraries on the problem, those that `python` can import.

    Raises: SourceError.
    """
    if not PEERS.is_file():
        raise SourceError(f"{PEERS}: comes with the source, not with the package; clone it")
    with TemporaryDirectory() as folder:
        write_problem(problem, Path(folder) / "problem.npz")
        command = [str(python), str(PEERS), str(Path(folder) / "problem.npz")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except OSError as error:
            raise SourceError(f"--peers {python}: {error}; name a Python") from error
        except subprocess.CalledProcessError as error:
            raise SourceError(f"--peers {python}: {error.stderr.strip()}") from error
    return done.stdout.rstrip()


def bench(problem: Problem, repeats: int) -> list[Timing]:
    """One large matrix product (the peak), the roof, a step of TopK and of ReLU, each once in a turn, so that
    all see the same machine; the first two turns do not count."""
    (batch, d_model), n_features = problem.x.shape, problem.parameters["encoder"].shape[0]
    dense = 10.0 * batch * d_model * n_features
    relu = ReluSettings(architecture="relu", features=n_features, coefficient=1e-5)
    topk = TopkSettings(architecture="topk", features=n_features, k=problem.k)
    size = 1024 if jax.default_backend() == "cpu" else 8192
    return _timed(
        [
            _Task("peak", _peak(size), 2.0 * size**3),
            _Task("roof", _roof(problem), dense),
            _step("topk", topk, problem, None),
            _step("relu", relu, problem, dense),
        ],
        repeats,
    )


@dataclass(frozen=True)
class _Task:
    name: str
    run: Callable[[], Any]
    operations: float | None  # of its matrix products, where they are nearly all of its work
    first_loss: float | None = None


def _peak(size: int) -> Callable[[], jax.Array]:
    left, right = jax.random.normal(jax.random.key(1), (2, size, size))
    product: Callable[[jax.Array, jax.Array], jax.Array] = jax.jit(jnp.matmul)
    return lambda: product(left, right)


def _roof(problem: Problem) -> Callable[[], Any]:
    @jax.jit
    def products(x: jax.Array, encoder: jax.Array, decoder: jax.Array) -> tuple[jax.Array, ...]:
        codes = x @ encoder.T
        error = codes @ decoder
        slope = error @ decoder.T
        return codes.T @ error, slope.T @ x

    weights = problem.parameters
    return lambda: products(problem.x, weights["encoder"], weights["decoder"])


def _step(name: str, settings: DictionarySettings, problem: Problem, operations: float | None) -> _Task:
    training = TrainingSettings(steps=1_000_000, batch=problem.x.shape[0], learning_rate=1e-4, clip=None)
    advance = make_step(settings, training, Scales(1.0, 1.0))
    parameters = {each: jnp.array(array, copy=True) for each, array in problem.parameters.items()}
    if name == "relu":
        parameters["scale"] = jnp.ones(settings.features, jnp.float32)
    state = [held(parameters, initial_moments(parameters), unknown(settings.features), training)]

    def run() -> dict[str, jax.Array]:
        state[0], numbers = advance(state[0], problem.x)
        return numbers

    return _Task(name, run, operations, float(run()["fvu_batch"]))


def _timed(tasks: list[_Task], repeats: int) -> list[Timing]:
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    spent: dict[str, list[float]] = {task.name: [] for task in tasks}
    for _ in range(repeats + 2):
        for task in tasks:
            begun = clock()
            for array in jax.tree.leaves(task.run()):
                array.block_until_ready()
            spent[task.name].append(1000 * (clock() - begun))
    return [_timing(task, spent[task.name][2:]) for task in tasks]


def _timing(task: _Task, spent: list[float]) -> Timing:
    least = min(spent)
    speed = None if task.operations is None else task.operations / least / 1e9
    return Timing(task.name, least, float(np.median(spent)), speed, task.first_loss)
