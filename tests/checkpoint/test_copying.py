"""Copying ranges: every way of copying gives the same bytes, and falls back where it is not offered."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Any, NoReturn

import pytest

from surgery.checkpoint.copying import copy_range, create_file
from surgery.errors import CheckpointError

DATA = os.urandom(100_003)


def _refuse(code: int) -> Any:
    def fail(*_: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("missing", [(), ("copy_file_range",), ("copy_file_range", "sendfile")])
@pytest.mark.parametrize("code", [errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
@pytest.mark.parametrize("span", [(0, len(DATA)), (1, 2), (777, 65_536), (5, 5)])
def test_copies_exactly_the_range(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: tuple[str, ...],
    code: int,
    span: tuple[int, int],
) -> None:
    for name in missing:
        monkeypatch.setattr(os, name, _refuse(code))
    source, target = tmp_path / "s", tmp_path / "t"
    source.write_bytes(DATA)
    create_file(target, len(DATA))
    copy_range(source, target, *span)
    assert target.read_bytes() == bytes(span[0]) + DATA[slice(*span)] + bytes(len(DATA) - span[1])


@pytest.mark.parametrize("shift", [0, 8, 4096])
def test_bytes_may_stand_further_on_in_the_target(tmp_path: Path, shift: int) -> None:
    (tmp_path / "s").write_bytes(DATA)
    create_file(tmp_path / "t", len(DATA) + shift)
    copy_range(tmp_path / "s", tmp_path / "t", 100, 90_000, shift=shift)
    whole = (tmp_path / "t").read_bytes()
    assert whole[100 + shift : 90_000 + shift] == DATA[100:90_000]
    assert not any(whole[: 100 + shift]) and not any(whole[90_000 + shift :])


class _Blocks:
    """A file system that shares blocks: what the target gets is noted, and done by hand."""

    def __init__(self, code: int | None = None) -> None:
        self.code, self.asked, self.copied = code, [], []

    def ioctl(self, target: int, request: int, argument: bytes) -> int:
        source, start, size, to = struct.unpack("=qQQQ", argument)
        assert request == 0x4020940D
        self.asked.append((start, size, to))
        if self.code is not None:
            raise OSError(self.code, os.strerror(self.code))
        os.pwrite(target, os.pread(source, size, start), to)
        return 0

    def copy(self, source: int, target: int, size: int, start: int, to: int) -> int:
        self.copied.append((start, size))
        return os.pwrite(target, os.pread(source, size, start), to)


@pytest.mark.parametrize(
    ("code", "copied"),
    [
        (None, [(100, 3996), (61_440, 101)]),
        (errno.EOPNOTSUPP, [(100, 61_441)]),
        (errno.EXDEV, [(100, 61_441)]),
        (errno.ENOTTY, [(100, 61_441)]),
    ],
)
def test_whole_blocks_are_shared_or_else_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, copied: list[tuple[int, int]]
) -> None:
    blocks = _Blocks(code)
    monkeypatch.setattr(fcntl, "ioctl", blocks.ioctl)
    monkeypatch.setattr(os, "copy_file_range", blocks.copy)
    (tmp_path / "s").write_bytes(DATA)
    create_file(tmp_path / "t", len(DATA))
    copy_range(tmp_path / "s", tmp_path / "t", 100, 61_541)
    assert blocks.asked == [(4096, 57_344, 4096)] and blocks.copied == copied
    assert (tmp_path / "t").read_bytes()[100:61_541] == DATA[100:61_541]


def test_a_disk_that_fills_up_while_blocks_are_shared_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "ioctl", _Blocks(errno.ENOSPC).ioctl)
    (tmp_path / "s").write_bytes(DATA)
    create_file(tmp_path / "t", len(DATA))
    with pytest.raises(OSError, match="No space left"):
        copy_range(tmp_path / "s", tmp_path / "t", 0, len(DATA))


def test_a_full_disk_is_not_taken_for_a_missing_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "copy_file_range", _refuse(errno.ENOSPC))
    (tmp_path / "s").write_bytes(DATA)
    create_file(tmp_path / "t", 10)
    with pytest.raises(OSError, match="No space left"):
        copy_range(tmp_path / "s", tmp_path / "t", 0, 10)


def test_notices_a_source_that_ends_too_early(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(DATA)
    create_file(tmp_path / "t", 10)
    with pytest.raises(CheckpointError, match="s: became shorter"):
        copy_range(tmp_path / "s", tmp_path / "t", 0, len(DATA) + 1)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_files_follow_the_umask_and_replace_nothing(tmp_path: Path, mask: int, mode: int) -> None:
    old = os.umask(mask)
    try:
        create_file(tmp_path / "x" / "t", 3)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x" / "t").stat().st_mode) == mode
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "x" / "t", 3)
