"""Directions keep their length and origin through their file, and unusable ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from surgery import Direction
from surgery.direction.direction import read_directions, unit_direction, write_directions
from surgery.errors import DirectionError
from surgery.hook_point import HookPoint


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    found = unit_direction(np.arange(1.0, 9.0), HookPoint(4, "resid_pre"), {"find": "difference_of_means"})
    other = unit_direction(-np.ones(8))
    write_directions(tmp_path / "d.safetensors", {"refusal": found, "other": other})
    read = read_directions(tmp_path / "d.safetensors")
    assert list(read) == ["other", "refusal"]
    assert read["refusal"].hook_point == HookPoint(4, "resid_pre")
    assert read["refusal"].norm == pytest.approx(np.linalg.norm(np.arange(1.0, 9.0)))
    assert read["refusal"].origin == {"find": "difference_of_means"}
    np.testing.assert_allclose(read["refusal"].vector, found.vector, atol=1e-7)


def test_the_file_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    found = unit_direction(np.arange(1.0, 9.0), HookPoint(4, "resid_pre"), {"b": 1, "a": 2})
    for name in ("one", "two"):
        found.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_foreign_file_of_one_vector_is_a_direction(tmp_path: Path) -> None:
    save_file({"v": np.full(4, 2.0, dtype=np.float32)}, tmp_path / "v.safetensors")
    found = Direction.load(tmp_path / "v.safetensors")
    assert found.norm == pytest.approx(4.0)
    np.testing.assert_allclose(found.vector, np.full(4, 0.5))
    assert found.hook_point is None


def test_several_need_a_name(tmp_path: Path) -> None:
    save_file(
        {"a": np.ones(4, dtype=np.float32), "b": np.ones(4, dtype=np.float32)}, tmp_path / "v.safetensors"
    )
    with pytest.raises(DirectionError, match="holds 2 directions"):
        Direction.load(tmp_path / "v.safetensors")
    with pytest.raises(DirectionError, match="no direction named 'c'; it holds: a, b"):
        Direction.load(tmp_path / "v.safetensors", "c")
    assert Direction.load(tmp_path / "v.safetensors", "b").d_model == 4


@pytest.mark.parametrize("wrong", [None, -1, True, "x", [1], {"a": 1}, float("nan")])
@pytest.mark.parametrize("key", ["layer", "hook_point", "norm", "origin", None])
def test_what_a_file_says_wrongly_is_not_believed(tmp_path: Path, key: str | None, wrong: Any) -> None:
    said = {"layer": 1, "hook_point": "resid_pre", "norm": 2.0, "origin": {"find": "x"}}
    described = wrong if key is None else said | {key: wrong}
    vector = np.full(4, 1.5, np.float32)
    save_file({"v": vector}, tmp_path / "d.safetensors", metadata={"surgery": json.dumps({"v": described})})
    found = Direction.load(tmp_path / "d.safetensors")
    assert found.norm == (3.0 if key in ("norm", None) else 2.0)
    assert found.hook_point == (None if key in ("layer", "hook_point", None) else HookPoint(1, "resid_pre"))
    origin = {"a": 1} if wrong == {"a": 1} and key == "origin" else {"file": "d.safetensors", "tensor": "v"}
    assert found.origin == (origin if key in ("origin", None) else said["origin"])


@pytest.mark.parametrize("vector", [np.zeros(4), np.array([1.0, np.nan]), np.array([np.inf, 1.0])])
def test_a_vector_without_direction_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(DirectionError, match="no direction"):
        unit_direction(vector)


def test_a_matrix_is_no_direction(tmp_path: Path) -> None:
    save_file({"m": np.ones((2, 4), dtype=np.float32)}, tmp_path / "m.safetensors")
    with pytest.raises(DirectionError, match="one axis"):
        Direction.load(tmp_path / "m.safetensors")


def test_a_stored_vector_without_direction_is_named(tmp_path: Path) -> None:
    save_file({"fine": np.ones(3, np.float32), "empty": np.zeros(3, np.float32)}, tmp_path / "d.safetensors")
    with pytest.raises(DirectionError, match=r"d\.safetensors: tensor 'empty': the vector has no direction"):
        read_directions(tmp_path / "d.safetensors")


def test_garbage_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"not a file")
    with pytest.raises(DirectionError, match=r"x\.safetensors"):
        Direction.load(tmp_path / "x.safetensors")
