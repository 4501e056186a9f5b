"""Activations by this trainer's own decoder (`trainer.decoder`), for hosts where torch would run on the CPU.

The same rows in the same order as `trainer.subject` gives. Every batch has the full context, so that
one compilation serves all; over several devices the rows of a batch are spread over `data`, so each device,
and each process, runs the model on its share.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from trainer.config import DataSettings, HookSettings, ModelSettings
from trainer.decoder.attention import choose_attention
from trainer.decoder.forward import activations, depth
from trainer.decoder.shape import read_shape
from trainer.decoder.weights import load_weights
from trainer.placement import place_rows, whole
from trainer.tokens import TokenBatch, Tokens, batch_rows, shuffled_rows, within_norm

Run = Callable[[TokenBatch], jax.Array]


def load_decoder(folder: Path, settings: ModelSettings, hook: HookSettings, data: DataSettings) -> Run:
    """A batch -> activations (data.batch * data.context, d_model) float32, at `mlp` twice as wide.

    Raises: SourceError when the model is of another family or cannot be read.
    """
    shape, dtype = read_shape(folder), jnp.dtype(settings.dtype)
    embedding, layers = load_weights(folder, shape, depth(hook), dtype, int8=settings.weights == "int8")
    attention = choose_attention(
        settings.attention, shape, depth(hook), data.context, settings.dtype, packed=data.packed
    )

    def run(batch: TokenBatch) -> jax.Array:
        arrays = (_whole_batch(array, data, fill) for array, fill in _inputs(batch))
        found = activations(
            embedding, layers, *map(place_rows, arrays), shape=shape, hook=hook, attention=attention
        )
        rows: jax.Array = found.reshape(-1, found.shape[-1])
        return rows

    return run


def _inputs(batch: TokenBatch) -> list[tuple[np.ndarray, int]]:
    positions = (
        batch.positions if batch.packed else np.broadcast_to(np.arange(batch.ids.shape[1]), batch.ids.shape)
    )
    return [(batch.ids, 0), (positions, 0), (batch.segments, -1)]


def _whole_batch(array: np.ndarray, data: DataSettings, fill: int) -> np.ndarray:
    rows, width = array.shape
    padding = ((0, data.batch - rows), (0, data.context - width))
    return np.pad(array, padding, constant_values=fill).astype(np.int32)


def passes(
    run: Run, texts: Sequence[Tokens], data: DataSettings, seed: int
) -> Callable[[int, int], Iterator[tuple[jax.Array, np.ndarray]]]:
    """Pass number, batches to leave out at its start -> the rest of that pass, as in `subject.harvest`."""

    def one_pass(number: int, start: int) -> Iterator[tuple[jax.Array, np.ndarray]]:
        rows = shuffled_rows(texts, data.context, packed=data.packed, seed=[seed, number])
        for batch in batch_rows(rows[start * data.batch :], data.batch, packed=data.packed):
            found = run(batch)
            keep = _whole_batch(batch.keep, data, 0).astype(bool).reshape(-1)
            if data.norm_outliers is not None:
                norms = whole(jnp.linalg.norm(found, axis=1))
                keep = within_norm(norms, keep, data.norm_outliers)
            yield found, keep

    return one_pass
