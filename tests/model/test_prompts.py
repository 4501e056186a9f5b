"""Prompt sets from every format, known by their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgery.errors import SourceError
from surgery.model.prompts import prompt_set, read_prompts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"id": 0, "prompt": "one"}\n\n{"id": 1, "prompt": "two"}\n'),
        ("a.json", '[{"id": 0, "prompt": "one"}, {"id": 1, "prompt": "two"}]'),
        ("a.csv", "id,prompt\n0,one\n1,two\n"),
        ("a.txt", "one\n\ntwo\n"),
        ("b.jsonl", '"one"\n"two"\n'),
        ("c.json", '{"instruction": "one", "category": null}\n{"instruction": "two", "category": null}\n'),
    ],
)
def test_formats(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name).prompts == ["one", "two"]


def test_the_hash_is_of_the_content_in_order(tmp_path: Path) -> None:
    rows = [{"prompt": "one"}, {"prompt": "two"}]
    assert prompt_set("x", rows).sha256 == prompt_set("y", rows).sha256
    assert prompt_set("x", rows).sha256 != prompt_set("x", rows[::-1]).sha256


def test_a_named_field_and_a_count(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "one", "prompt": "no"}\n{"q": "two", "prompt": "no"}\n')
    assert read_prompts(tmp_path / "a.jsonl", field="q", count=1).prompts == ["one"]
    with pytest.raises(SourceError, match="holds 2 rows, and the recipe asks for 3"):
        read_prompts(tmp_path / "a.jsonl", count=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("{", r"a\.jsonl:1: not valid JSON"),
        ("3", "expected an object or a text, found int"),
        ('{"prompt": 3}', "row 1 holds no text under 'prompt'; it holds: int"),
        (
            '{"colour": "red"}',
            "row 1 has no text under 'prompt or instruction or goal or question or text'; it has: colour",
        ),
    ],
)
def test_malformed_files_say_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(SourceError, match=message):
        read_prompts(tmp_path / "a.jsonl")


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="UTF-8"):
        read_prompts(tmp_path / "a.txt")
    with pytest.raises(SourceError, match=r"none.txt: cannot be read \(No such file or directory\); name"):
        read_prompts(tmp_path / "none.txt")
