"""SHA256SUMS: what sha256sum(1) writes and checks."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from surgery.checkpoint.sums import SUMS_FILE, check_sums, read_sums, write_sums
from surgery.errors import CheckpointError

FILES = {
    "a": b"1",
    "sub/b c \u00fc.txt": b"",
    "sub/back\\slash": b"2",
    "line\nbreak": b"3",
    "z.bin": bytes(99),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "out"
    for name, data in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    write_sums(place)
    return place


def _problems(folder: Path) -> list[str]:
    return list(check_sums(folder, workers=2))


def test_every_file_is_listed(folder: Path) -> None:
    assert read_sums(folder) == {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
    assert _problems(folder) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum(1) is not installed")
def test_the_program_of_that_name_agrees(folder: Path) -> None:
    run = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS_FILE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run
    names = sorted(name for name in FILES)
    written = subprocess.run(["sha256sum", "--", *names], cwd=folder, capture_output=True, check=True).stdout
    assert sorted(written.splitlines()) == sorted((folder / SUMS_FILE).read_bytes().splitlines())


def test_known_hashes_are_not_computed_again(folder: Path) -> None:
    write_sums(folder, {"a": "0" * 64, "z.bin": None})
    assert read_sums(folder)["a"] == "0" * 64
    assert read_sums(folder)["z.bin"] == hashlib.sha256(FILES["z.bin"]).hexdigest()


def test_what_is_wrong_is_named(folder: Path) -> None:
    (folder / "a").write_bytes(b"2")
    (folder / "z.bin").unlink()
    (folder / "new").touch()
    assert sorted(_problems(folder)) == [
        "a: its bytes are not those that SHA256SUMS lists",
        "new: is not listed in SHA256SUMS",
        "z.bin: is listed in SHA256SUMS and missing",
    ]


@pytest.mark.parametrize("text", ["abc  a\n", f"{'0' * 64} a\n", f"{'0' * 64}  \n", "\n"])
def test_a_malformed_line_is_refused_with_its_number(folder: Path, text: str) -> None:
    (folder / SUMS_FILE).write_text(f"{'0' * 64}  a\n{text}")
    with pytest.raises(CheckpointError, match=f"{SUMS_FILE}:2: is not a line of SHA-256"):
        read_sums(folder)


def test_a_name_that_stands_twice_is_refused(folder: Path) -> None:
    """sha256sum(1) would check both; the last one alone would hide the first."""
    with (folder / SUMS_FILE).open("a") as file:
        file.write(f"{'0' * 64}  a\n")
    with pytest.raises(CheckpointError, match="lists 'a' a second time"):
        read_sums(folder)


def test_a_name_that_is_no_utf8_stands_as_it_is(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9")).write_bytes(b"1")
    write_sums(folder)
    assert b"  caf\xe9\n" in (folder / SUMS_FILE).read_bytes()
    assert _problems(folder) == []


def test_what_a_client_keeps_beside_a_copy_is_not_part_of_it(folder: Path) -> None:
    for name in (".git/HEAD", ".cache/huggingface/x.metadata"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    (folder / "sub" / ".git").touch()
    assert _problems(folder) == ["sub/.git: is not listed in SHA256SUMS"]


def test_a_missing_list_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="SHA256SUMS: cannot be read"):
        read_sums(tmp_path)
