"""Activations on disk: what is written is what is read, in an order that can be taken up anywhere."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from surgery.errors import OutputError, SourceError
from trainer.config import Config, HookSettings
from trainer.reader import parse_config
from trainer.shards import Harvest, passes, place_of, write_shards

RUN = """\
model: {source: somewhere}
hook: {layer: 1}
data: {train: [{source: a.txt}], held_out: [{source: b.txt}], context: 4, batch: 2}
dictionary: {architecture: topk, features: 40, k: 3}
buffer: {capacity: 64}
training: {steps: 12, batch: 16}
"""


@pytest.fixture
def config() -> Config:
    return parse_config(RUN, "run.yaml")


def _parts(config: Config) -> Iterator[dict[HookSettings, Harvest]]:
    """7 batches of 8 rows, every fourth left out; a row holds its number."""
    for batch in range(7):
        numbers = 8 * batch + np.arange(8)
        yield {config.hook: (jnp.asarray(np.stack([numbers, -numbers], 1), jnp.float32), numbers % 4 != 0)}


@pytest.fixture
def written(config: Config, tmp_path: Path) -> Path:
    assert write_shards({config.hook: config}, _parts(config), tmp_path, shard_rows=20) == {config.hook: 42}
    return tmp_path


def _numbers(run: Iterator[Harvest]) -> list[list[float]]:
    blocks = [(np.asarray(rows), keep) for rows, keep in run]
    assert all(rows.shape == (8, 2) for rows, _ in blocks)
    assert all((rows[:, 1] == -rows[:, 0]).all() for rows, _ in blocks)
    return [rows[keep, 0].tolist() for rows, keep in blocks]


def test_a_pass_gives_every_row_once_in_an_order_of_its_own(config: Config, written: Path) -> None:
    stream = passes(written, config)
    first, second = _numbers(stream(0, 0)), _numbers(stream(1, 0))
    everything = [float(number) for number in range(56) if number % 4]
    assert sorted(chain(*first)) == sorted(chain(*second)) == everything
    assert first != second and first == _numbers(stream(0, 0))
    assert _numbers(passes(written, config.model_copy(update={"seed": 1}))(0, 0)) != first


def test_a_pass_can_be_taken_up_anywhere(config: Config, written: Path) -> None:
    stream = passes(written, config)
    whole = _numbers(stream(2, 0))
    for start in range(len(whole) + 1):
        assert _numbers(stream(2, start)) == whole[start:]


def test_broken_shards_are_told_by_name(config: Config, written: Path) -> None:
    shard = place_of(written, config.hook) / "00001.npy"
    kept = shard.read_bytes()
    shard.write_bytes(kept[:-4])
    with pytest.raises(SourceError, match=r"00001\.npy: missing or cut short"):
        passes(written, config)
    np.save(shard, np.zeros((19, 2), np.float32))
    with pytest.raises(SourceError, match=r"00001\.npy: holds float32 \(19, 2\)"):
        passes(written, config)
    shard.unlink()
    with pytest.raises(SourceError, match=r"00001\.npy: missing"):
        passes(written, config)
    (shard.parent / "index.json").unlink()
    with pytest.raises(SourceError, match="no finished activations"):
        passes(written, config)


def test_activations_of_another_config_are_refused(config: Config, written: Path) -> None:
    other = config.model_copy(update={"data": config.data.model_copy(update={"context": 8})})
    with pytest.raises(SourceError, match=r"data\.context = 4, the config says 8"):
        passes(written, other)
    index = place_of(written, config.hook) / "index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "version": 2}))
    with pytest.raises(SourceError, match="version 2"):
        passes(written, config)


def test_nothing_is_written_over(config: Config, written: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_shards({config.hook: config}, _parts(config), written)
    with pytest.raises(SourceError, match="left out"):
        write_shards({config.hook: config}, [], written / "empty")
