"""How long one step takes, beside the roof: the matrix products that no dense step can do without.

    roof = π = x Wᵉᵀ,  x̂ = h Wᵈ,  ∂Wᵈ = hᵀ e,  ∂h = e Wᵈᵀ,  ∂Wᵉ = ∂πᵀ x          five products, 10·b·d·m FLOP

A step is everything: loss, gradient, optimiser, unit rows. Times are CPU time of the process on a CPU, where
other work on the machine would show in wall time, and wall time elsewhere. `Problem` can be written to a file
so that other libraries get the same data and initial weights (`benchmarks/trainer_peers.py`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainer.architectures.topk import tied_start
from trainer.config import TrainingSettings
from trainer.kinds import DictionarySettings, ReluSettings, TopkSettings
from trainer.normalization import Scales
from trainer.optimizer import initial_moments
from trainer.parameters import Parameters
from trainer.step import held, make_step


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


def bench(problem: Problem, repeats: int) -> list[Timing]:
    """The roof, then one step of TopK and of ReLU; each after two steps that do not count."""
    n_features = problem.parameters["encoder"].shape[0]
    relu = ReluSettings(architecture="relu", features=n_features, coefficient=1e-5)
    topk = TopkSettings(architecture="topk", features=n_features, k=problem.k)
    return [
        _roof(problem, repeats),
        _step("topk", topk, problem, repeats),
        _step("relu", relu, problem, repeats),
    ]


def _roof(problem: Problem, repeats: int) -> Timing:
    @jax.jit
    def products(x: jax.Array, encoder: jax.Array, decoder: jax.Array) -> tuple[jax.Array, ...]:
        codes = x @ encoder.T
        error = codes @ decoder
        slope = error @ decoder.T
        return codes.T @ error, slope.T @ x

    weights = problem.parameters
    return _timed("roof", lambda: products(problem.x, weights["encoder"], weights["decoder"]), repeats, None)


def _step(name: str, settings: DictionarySettings, problem: Problem, repeats: int) -> Timing:
    training = TrainingSettings(steps=1_000_000, batch=problem.x.shape[0], learning_rate=1e-4, clip=None)
    advance = make_step(settings, training, Scales(1.0, 1.0))
    parameters = {each: jnp.array(array, copy=True) for each, array in problem.parameters.items()}
    if name == "relu":
        parameters["scale"] = jnp.ones(settings.features, jnp.float32)
    silent = jnp.zeros(settings.features, jnp.int32)
    state = [held(parameters, initial_moments(parameters), silent, training)]

    def run() -> dict[str, jax.Array]:
        state[0], numbers = advance(state[0], problem.x)
        return numbers

    first = float(run()["fvu_batch"])
    return _timed(name, run, repeats, first)


def _timed(name: str, run: Callable[[], Any], repeats: int, first_loss: float | None) -> Timing:
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    spent = []
    for _ in range(repeats + 2):
        begun = clock()
        for array in jax.tree.leaves(run()):
            array.block_until_ready()
        spent.append(1000 * (clock() - begun))
    return Timing(name, min(spent[2:]), float(np.median(spent[2:])), first_loss)
