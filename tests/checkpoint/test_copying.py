"""Copying ranges: every way of copying gives the same bytes, and falls back where it is not offered."""

from __future__ import annotations

import errno
import os
import stat
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


def test_a_full_disk_is_not_taken_for_a_missing_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "copy_file_range", _refuse(errno.ENOSPC))
    (tmp_path / "s").write_bytes(DATA)
    create_file(tmp_path / "t", 10)
    with pytest.raises(OSError, match="No space left"):
        copy_range(tmp_path / "s", tmp_path / "t", 0, 10)


def test_notices_a_source_that_ends_too_early(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(DATA)
    create_file(tmp_path / "t", 10)
    with pytest.raises(CheckpointError, match="became shorter"):
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
