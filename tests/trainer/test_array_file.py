"""Files of arrays can be read by whom the umask allows, and hold what was given."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import trainer
from trainer.array_file import write_arrays


@pytest.fixture
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


@pytest.mark.parametrize(
    ("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)], indirect=["umask"]
)
def test_the_mode_is_what_the_umask_leaves(tmp_path: Path, umask: int, mode: int) -> None:
    for _ in range(2):  # new, and in place of an earlier one
        write_arrays(tmp_path / "a.safetensors", {"w": np.ones(3, np.float32)})
        assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == mode
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_mode_that_somebody_set_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(path, {"w": np.ones(3, np.float32)})
    path.chmod(0o640)
    write_arrays(path, {"w": np.zeros(3, np.float32)})
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6, dtype=np.int32).reshape(2, 3), "a": np.float32([1.5])}
    write_arrays(tmp_path / "a", arrays)
    np.testing.assert_equal(load_file(tmp_path / "a"), arrays)


def test_nothing_else_of_the_trainer_writes_such_files() -> None:
    folder = Path(trainer.__file__).parent
    assert [path.name for path in folder.rglob("*.py") if "save_file" in path.read_text()] == [
        "array_file.py"
    ]
