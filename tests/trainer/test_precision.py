"""Blocks of 8 bits and bfloat16 against plain transcriptions, and what training loses by them."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.errors import SourceError
from trainer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainer.config import BufferSettings, Config, TrainingSettings
from trainer.feed import Feed
from trainer.precision import Blocks, from_blocks, pack, pack_moments, to_bfloat16, to_blocks, unpack_moments
from trainer.reader import parse_config
from trainer.training import Trained, in_turns, start, steps

RUN = """\
model: {{source: none}}
hook: {{layer: 0}}
data: {{train: [{{source: a}}], held_out: [{{source: a}}], context: 2, batch: 2}}
dictionary: {{architecture: topk, features: 32, k: 3}}
buffer: {{capacity: 6001}}
training: {{steps: {steps}, batch: 256, learning_rate: 3.0e-3, warmup: 50, dead_after: 8192{more}}}
"""


def _bfloat16(array: np.ndarray) -> np.ndarray:
    """To nearest, ties to even, by the bits."""
    bits = array.astype(np.float32).view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16).astype(np.uint32).view(np.float32)


def _transcribed(matrix: np.ndarray) -> np.ndarray:
    out = np.zeros_like(matrix)
    for row, values in enumerate(matrix):
        for first in range(0, len(values), 16):
            block = values[first : first + 16]
            zero = _bfloat16(block.min()[None])[0]
            step = _bfloat16(((block.max() - zero) / np.float32(255))[None])[0]
            levels = np.clip(np.round((block - zero) / step), 0, 255) if step > 0 else np.zeros(16)
            out[row, first : first + 16] = zero + levels.astype(np.float32) * step
    return out


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([1e-6, 1.0, 1e4]))
def test_blocks_equal_the_transcription(seed: int, size: float) -> None:
    matrix = (np.random.default_rng(seed).standard_normal((5, 48)) * size).astype(np.float32)
    matrix[1, 16:32] = matrix[1, 16]  # a constant block
    matrix[2] = 0
    blocks = to_blocks(jnp.asarray(matrix))
    held, expected = np.asarray(from_blocks(blocks)), _transcribed(matrix)
    level = np.repeat(np.abs(np.asarray(blocks.step, np.float32)), 16, axis=1)
    gap = np.abs(held - expected)
    # half a level may be rounded either way; a constant block then differs as a whole
    assert (gap <= 1.01 * level + 1e-6 * size).all()
    assert (gap <= 1e-6 * (np.abs(expected) + size)).mean() > 0.9
    relative = np.linalg.norm(held - matrix) / np.linalg.norm(matrix)
    assert relative < 0.006


def test_ten_bits_a_weight() -> None:
    blocks = to_blocks(jnp.ones((64, 128)))
    assert sum(array.size * array.dtype.itemsize * 8 for array in blocks) == 10 * 64 * 128
    np.testing.assert_array_equal(from_blocks(blocks), 1.0)  # constant, no division by 0


@pytest.mark.parametrize("kind", ["int8", "bfloat16"])
def test_stochastic_rounding_is_right_in_the_mean(kind: str) -> None:
    matrix = jax.random.normal(jax.random.key(0), (2, 32))
    keys = jax.random.split(jax.random.key(1), 4000)

    def held(key: jax.Array) -> jax.Array:
        if kind == "int8":
            return from_blocks(to_blocks(matrix, key))
        return to_bfloat16(matrix, key).astype(jnp.float32)

    found = jax.vmap(held)(keys)
    quantum = float(to_blocks(matrix).step.max()) if kind == "int8" else 2.0**-6
    assert float(jnp.abs(found - matrix[None]).max()) <= 1.01 * quantum
    inner = jnp.abs(found.mean(0) - matrix) < 0.05 * quantum
    # bfloat16 zero points may cut the two ends of a block; the rest has no bias
    assert float(inner.mean()) > (0.85 if kind == "int8" else 0.999)


def test_bfloat16_takes_matrices_and_scales_and_leaves_biases() -> None:
    names = {
        "encoder": (4, 16),
        "decoder": (4, 16),
        "scale": (4,),
        "encoder_bias": (4,),
        "decoder_bias": (16,),
    }
    parameters = {name: jnp.full(shape, 1 / 3) for name, shape in names.items()}
    training = TrainingSettings(steps=1, learning_rate=1.0, weights="bfloat16")
    stored = pack(parameters, training, jnp.int32(0))
    kinds = {name: str(array.dtype) for name, array in stored.items() if not isinstance(array, Blocks)}
    low, full = "bfloat16", "float32"
    assert kinds == {"encoder": low, "decoder": low, "scale": low, "encoder_bias": full, "decoder_bias": full}
    expected = _bfloat16(np.array([1 / 3], np.float32))[0]
    np.testing.assert_array_equal(np.asarray(stored["scale"], np.float32), expected)


def test_second_moment_is_held_by_its_root() -> None:
    second = np.random.default_rng(0).gamma(0.3, 1e-4, (6, 32)).astype(np.float32)
    training = TrainingSettings(steps=1, learning_rate=1.0, second_moment="int8")
    stored = pack_moments({"encoder": jnp.asarray(second), "encoder_bias": jnp.ones(6)}, training)
    back = unpack_moments(stored)
    np.testing.assert_allclose(back["encoder"], _transcribed(np.sqrt(second)) ** 2, rtol=1e-5, atol=1e-12)
    assert float(back["encoder"].min()) > 0
    np.testing.assert_array_equal(back["encoder_bias"], 1.0)


def test_rows_of_another_length_are_refused() -> None:
    training = TrainingSettings(steps=1, learning_rate=1.0, weights="int8")
    with pytest.raises(SourceError, match="no multiple of 16"):
        pack({"encoder": jnp.ones((4, 17))}, training, jnp.int32(0))


def _config(steps: int, more: str) -> Config:
    return parse_config(RUN.format(steps=steps, more=more), "run.yaml")


def _begin(rows: np.ndarray, run: Config) -> tuple[Feed, Checkpoint]:
    def one_pass(_: int, first: int) -> Iterator[tuple[jax.Array, np.ndarray]]:
        if first == 0:
            yield jnp.asarray(rows), np.ones(len(rows), bool)

    feed = Feed(one_pass, BufferSettings(capacity=len(rows) + 1))
    list(feed.filling())
    return feed, start(feed, run, rows.shape[1])


def _fvu(rows: np.ndarray, trained: Trained) -> float:
    p, x = trained.arrays, rows * trained.scales.read
    pre = (x - p["decoder_bias"]) @ p["encoder"].T + p["encoder_bias"]
    codes = np.where(pre >= np.sort(pre, 1)[:, -3:-2], np.maximum(pre, 0), 0)
    error = codes @ p["decoder"] + p["decoder_bias"] - x
    return float((error**2).sum() / ((x - x.mean(0)) ** 2).sum())


def test_low_precision_trains_as_well(planted: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    found = {}
    for name, more in (
        ("float32", ""),
        ("bfloat16", ", weights: bfloat16"),
        ("int8", ", weights: int8, rounding: stochastic"),
        ("moments", ", second_moment: int8"),
    ):
        run = _config(600, more)
        feed, begun = _begin(planted[1], run)
        (tmp_path / name).mkdir()
        (trained,) = in_turns([steps(feed, run, tmp_path / name, begun)])
        found[name] = _fvu(planted[1], trained)
    assert found["float32"] < 0.2
    assert abs(found["int8"] - found["bfloat16"]) < 0.03
    assert abs(found["bfloat16"] - found["float32"]) < 0.03
    assert abs(found["moments"] - found["float32"]) < 0.03


@pytest.mark.usefixtures("orbax")
@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_checkpoint_holds_every_bit(
    planted: tuple[np.ndarray, np.ndarray], tmp_path: Path, weights: str
) -> None:
    run = _config(4, f", weights: {weights}, second_moment: int8, rounding: stochastic")
    _, begun = _begin(planted[1], run)
    save_checkpoint(tmp_path, begun, run)
    again = load_checkpoint(tmp_path, run)
    assert again is not None
    for mine, theirs in zip(jax.tree.leaves(begun.state), jax.tree.leaves(again.state), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
