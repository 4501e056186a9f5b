"""Two tensors side by side: bytes compared across files, tiles that cover every element once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from surgery.checkpoint import hashes
from surgery.checkpoint import pair as pair_module
from surgery.checkpoint.header import read_header
from surgery.checkpoint.pair import Slot, by_matrix, lines_of, read_slot, same_bytes, walk_pair


def _slot(path: Path, value: torch.Tensor, *, before: int = 0) -> Slot:
    tensors = {"w": value}
    if before:
        tensors["a"] = torch.zeros(before, dtype=torch.float64)  # shifts where w begins
    save_file(tensors, path)
    return Slot(path, read_header(path).tensors["w"])


def test_equal_ranges_at_different_places_are_the_same(tmp_path: Path) -> None:
    value = torch.randn(7, 11)
    one, two = _slot(tmp_path / "a", value), _slot(tmp_path / "b", value, before=5)
    assert one.entry.start != two.entry.start
    assert same_bytes(one, two)


@pytest.mark.parametrize("place", [0, 1000, 2999])
def test_one_element_makes_the_difference(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "CHUNK_BYTES", 1024)
    value = torch.randn(3000)
    other = value.clone()
    other[place] += 1
    assert not same_bytes(_slot(tmp_path / "a", value), _slot(tmp_path / "b", other))
    assert same_bytes(_slot(tmp_path / "a", value), _slot(tmp_path / "c", value))


def test_other_lengths_differ(tmp_path: Path) -> None:
    assert not same_bytes(_slot(tmp_path / "a", torch.ones(4)), _slot(tmp_path / "b", torch.ones(5)))


@pytest.mark.parametrize("shape", [(300, 17), (5, 40, 17), (9,), (1, 1), ()])
def test_tiles_cover_every_element_once(
    shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_module, "TILE_ELEMENTS", 200)
    one, two = torch.randn(shape).bfloat16(), torch.randn(shape).half()
    pairs = walk_pair(_slot(tmp_path / "a", one), _slot(tmp_path / "b", two))
    seen = [(tile.first, tile.before.copy(), tile.after.copy()) for tile in pairs]
    lines, length = lines_of(shape)
    assert [first for first, _, _ in seen] == list(range(0, lines, max(1, 200 // length)))[: len(seen)]
    assert np.array_equal(
        np.concatenate([each for _, each, _ in seen]), one.float().reshape(lines, length).numpy()
    )
    assert np.array_equal(
        np.concatenate([each for _, _, each in seen]), two.float().reshape(lines, length).numpy()
    )


def test_changed_elements_are_counted_as_stored(tmp_path: Path) -> None:
    value = torch.randn(40, 10).bfloat16()
    other = value.clone()
    other[::4] *= 2
    tiles = walk_pair(_slot(tmp_path / "a", value), _slot(tmp_path / "b", other))
    assert sum(tile.changed for tile in tiles) == 100


def test_the_walk_ends_where_it_is_told(tmp_path: Path) -> None:
    value = torch.randn(40, 10)
    slots = _slot(tmp_path / "a", value), _slot(tmp_path / "b", value)
    assert sum(len(tile.before) for tile in walk_pair(*slots, most_lines=13)) == 13


@pytest.mark.parametrize(("first", "count", "d"), [(0, 7, 3), (4, 1, 5), (5, 11, 4), (0, 3, 3)])
def test_lines_are_told_by_their_matrix(first: int, count: int, d: int) -> None:
    parts = list(by_matrix(first, count, d))
    seen = [(m * d + row + k) for m, row, ours in parts for k in range(ours.stop - ours.start)]
    assert seen == list(range(first, first + count))
    assert all(row + ours.stop - ours.start <= d for _, row, ours in parts)


def test_a_whole_tensor_is_read_in_its_shape(tmp_path: Path) -> None:
    value = torch.randn(3, 4, 5).bfloat16()
    found = read_slot(_slot(tmp_path / "a", value))
    assert np.array_equal(found, value.float().numpy())
