"""Texts from files and from the demo."""

import sys
import types
from pathlib import Path

import pytest

from surgery.errors import SourceError
from trainer.config import ModelSettings, TextSource
from trainer.records import Document
from trainer.sources import documents, model_folder


def _write(path: Path, text: str) -> TextSource:
    path.write_text(text)
    return TextSource(source=path.name)


def test_reads_each_field_and_plain_lines(tmp_path: Path) -> None:
    lines = '{"prompt": "hi"}\n\n{"text": "a b"}\n{"messages": [{"role": "user", "content": "c"}]}\n'
    sources = (_write(tmp_path / "a.jsonl", lines), _write(tmp_path / "b.txt", "one\n\ntwo\n"))
    user = ({"role": "user", "content": "hi"},)
    assert documents(sources, tmp_path) == [
        Document(messages=user, opens_reply=True),
        Document(text="a b"),
        Document(messages=({"role": "user", "content": "c"},)),
        Document(text="one"),
        Document(text="two"),
    ]


def test_count_repeat_and_last_tokens(tmp_path: Path) -> None:
    source = _write(tmp_path / "b.txt", "one\ntwo\nthree\n")
    source = source.model_copy(update={"count": 2, "repeat": 2, "last_tokens": 3})
    read = documents([source], tmp_path)
    assert [each.text for each in read] == ["one", "two", "one", "two"]
    assert {each.last_tokens for each in read} == {3}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.jsonl", "[1]\n", r"a\.jsonl:1: not an object"),
        ("a.txt", "\n \n", "holds no text"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        documents([_write(tmp_path / name, text)], tmp_path)


def test_missing_file_and_model_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        documents([TextSource(source="none.jsonl")], tmp_path)
    with pytest.raises(SourceError, match=r"no folder with a config\.json"):
        model_folder(ModelSettings(source="none"), tmp_path)


def test_written_sources_need_a_count_and_take_a_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grammar = types.ModuleType("surgery.demo.grammar")
    grammar.documents = lambda count, seed: [f"{seed}/{n}" for n in range(count)]  # type: ignore[attr-defined]
    grammar.chats = lambda count, seed: [[{"role": "user", "content": f"{seed}/{n}"}] for n in range(count)]  # type: ignore[attr-defined]
    demo = types.ModuleType("surgery.demo")
    demo.grammar = grammar  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "surgery.demo", demo)
    monkeypatch.setitem(sys.modules, "surgery.demo.grammar", grammar)
    with pytest.raises(SourceError, match="add `count:`"):
        documents([TextSource(source="demo:chats")], tmp_path)
    texts = documents([TextSource(source="demo:documents", count=2, seed=5)], tmp_path)
    assert [each.text for each in texts] == ["5/0", "5/1"]
    (chat,) = documents([TextSource(source="demo:chats", count=1, seed=6)], tmp_path)
    assert chat.messages == ({"role": "user", "content": "6/0"},) and not chat.opens_reply
