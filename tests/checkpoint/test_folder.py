"""Folders appear whole or not at all: every way to fail leaves the parent as it was."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from surgery.checkpoint import folder as folder_module
from surgery.checkpoint.folder import begin_flush, make_folder, new_folder
from surgery.errors import OutputError


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def small_files() -> Iterator[None]:
    """A limit of 64 kB on every file this process writes, enforced by the kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "out"
    with new_folder(target, needed_bytes=10) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "file").write_text("content")
        assert not target.exists()
        assert staging.parent == target.parent and staging.name.startswith(".out.unfinished")
    assert (target / "sub" / "file").read_text() == "content"
    assert _names(target.parent) == ["out"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o077, 0o700), (0o002, 0o775)])
def test_mode_follows_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    old = os.umask(mask)
    try:
        with new_folder(tmp_path / "out", needed_bytes=0):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_nothing_is_left_after(tmp_path: Path, failure: type[BaseException]) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "new" / "out", needed_bytes=0) as staging:
            (staging / "model.safetensors").write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert _names(tmp_path) == []


def test_a_parent_that_somebody_else_uses_stays(tmp_path: Path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "new" / "out", needed_bytes=0):
            (tmp_path / "new" / "other").touch()
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  (raised just above)
        fail()
    assert _names(tmp_path / "new") == ["other"]


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_refuses_a_target_that_exists(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
    elif kind == "file":
        target.touch()
    else:
        target.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="already exists"), new_folder(target, needed_bytes=0):
        raise AssertionError("the block must not run")
    assert _names(tmp_path) == ["out"]


def test_refuses_a_target_that_appears_meanwhile(tmp_path: Path) -> None:
    def run() -> None:
        with new_folder(tmp_path / "out", needed_bytes=0):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").touch()

    with pytest.raises(OutputError, match="already exists"):
        run()
    assert _names(tmp_path) == ["out"] and _names(tmp_path / "out") == ["theirs"]


def test_refuses_when_space_is_short_before_making_anything(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"needs 1000000000\.0 GB and .* free; free some space"),
        new_folder(tmp_path / "new" / "out", needed_bytes=10**18),
    ):
        raise AssertionError("the block must not run")
    assert _names(tmp_path) == []


def test_refuses_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="is not a folder"),
        new_folder(tmp_path / "file" / "out", needed_bytes=0),
    ):
        raise AssertionError("the block must not run")


def test_refuses_a_parent_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", denied)
    with (
        pytest.raises(OutputError, match="check the permissions"),
        new_folder(tmp_path / "out", needed_bytes=0),
    ):
        raise AssertionError("the block must not run")
    assert _names(tmp_path) == []


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="out: stands in the way and is not a folder"):
        make_folder(tmp_path / "out")


def test_explains_a_name_the_system_does_not_take(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot be made"),
        new_folder(tmp_path / ("x" * 250), needed_bytes=0),
    ):
        raise AssertionError("the block must not run")
    assert _names(tmp_path) == []


@pytest.mark.usefixtures("small_files")
def test_a_write_that_the_kernel_refuses_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    def run() -> None:
        with new_folder(tmp_path / "out", needed_bytes=100_000) as staging:
            (staging / "model.safetensors").write_bytes(bytes(100_000))

    with pytest.raises(
        OutputError, match=r"disk is full or a quota .* 100\.0 kB are needed\. Nothing was left"
    ):
        run()
    assert _names(tmp_path) == []


def test_a_full_disk_while_flushing_is_explained_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "flush_tree", full)
    with pytest.raises(OutputError, match="disk is full"), new_folder(tmp_path / "out", needed_bytes=5):
        pass
    assert _names(tmp_path) == []


@pytest.mark.parametrize("told", [True, False])
def test_begun_flushes_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    if not told:
        monkeypatch.delattr(os, "posix_fadvise", raising=False)
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 64)
    begin_flush(file, 100, 9000)
    assert file.read_bytes() == bytes(range(256)) * 64
