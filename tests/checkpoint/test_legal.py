"""The files that say what may be done with a model."""

from __future__ import annotations

from pathlib import Path

from surgery.checkpoint.legal import copy_legal_files, legal_files


def test_legal_files_are_told_by_their_names() -> None:
    names = ["config.json", "NOTICE", "LICENSE.txt", "USE_POLICY.md", "README.md", "licence"]
    assert legal_files(names) == ["LICENSE.txt", "NOTICE", "USE_POLICY.md", "licence"]


def test_they_are_copied_and_replace_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    for folder in (source, target):
        folder.mkdir()
        (folder / "LICENSE").write_text(folder.name)
    (source / "NOTICE").write_text("by a")
    (source / "weights.bin").write_text("x")
    copy_legal_files(source, target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"LICENSE": "b", "NOTICE": "by a"}
