"""Hashes and comparisons of files and ranges."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from surgery.checkpoint import hashes
from surgery.errors import CheckpointError


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "CHUNK_BYTES", 7)


def test_sha256_of_files_and_ranges(tmp_path: Path) -> None:
    data = bytes(range(100))
    path = tmp_path / "f"
    path.write_bytes(data)
    assert hashes.sha256_file(path) == hashlib.sha256(data).hexdigest()
    assert hashes.sha256_range(path, 13, 50) == hashlib.sha256(data[13:50]).hexdigest()
    with pytest.raises(CheckpointError, match="ends at byte 100, before 101"):
        hashes.sha256_range(path, 0, 101)


@pytest.mark.parametrize("place", [0, 6, 7, 50, 99])
def test_sees_one_changed_byte_where_it_is(tmp_path: Path, place: int) -> None:
    data = bytearray(100)
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(data)
    data[place] ^= 1
    two.write_bytes(data)
    assert not hashes.same_file(one, two)
    assert not hashes.same_range(one, two, place, place + 1)
    assert hashes.same_range(one, two, 0, place) and hashes.same_range(one, two, place + 1, 100)


def test_files_of_different_length_differ(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_bytes(b"abc")
    two.write_bytes(b"abcd")
    assert not hashes.same_file(one, two)
    assert not hashes.same_range(two, one, 0, 4)
    assert hashes.same_range(two, one, 0, 3)
