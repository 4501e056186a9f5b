"""Texts in files of every format, and how what is wrong in them is told."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from surgery.errors import SourceError
from trainer.config import TextSource
from trainer.records import Document, read_texts

ROWS = [{"id": 1, "text": "one", "question": "why?"}, {"id": 2, "text": "two\nlines", "question": "how?"}]
TEXTS = [Document(text="one"), Document(text="two\nlines")]


def _read(path: Path, **keys: object) -> list[Document]:
    return list(read_texts(path, TextSource.model_validate({"source": "any", **keys})))


def _lines(rows: list[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_every_text_format_gives_the_same(tmp_path: Path) -> None:
    lines = _lines(ROWS)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.json").write_text(json.dumps(ROWS, indent=2))
    (tmp_path / "d.json").write_text(lines)
    assert [_read(path) for path in sorted(tmp_path.iterdir())] == [TEXTS] * 4
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"one\n\ntwo\n"))
    assert _read(tmp_path / "e.txt.gz") == [Document(text="one"), Document(text="two")]


def test_parquet_is_read_where_pyarrow_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed; it is no dependency")
    parquet = pytest.importorskip("pyarrow.parquet")
    chats = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]] * 2
    table = pyarrow.Table.from_pylist([{**row, "chat": chat} for row, chat in zip(ROWS, chats, strict=True)])
    parquet.write_table(table, tmp_path / "a.parquet")
    assert _read(tmp_path / "a.parquet") == TEXTS
    assert _read(tmp_path / "a.parquet", field="chat") == [Document(messages=tuple(chats[0]))] * 2
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(SourceError, match="cannot be read"):
        _read(tmp_path / "a.parquet")


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match="pip install pyarrow"):
        _read(tmp_path / "a.parquet")


def test_a_field_is_a_text_or_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(_lines(ROWS))
    assert [each.text for each in _read(tmp_path / "a.jsonl", field="question")] == ["why?", "how?"]
    asked = _read(tmp_path / "a.jsonl", field="question", as_prompt=True, last_tokens=3)
    assert asked[0] == Document(
        messages=({"role": "user", "content": "why?"},), opens_reply=True, last_tokens=3
    )


def test_both_forms_of_a_chat_are_one(tmp_path: Path) -> None:
    plain = [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]
    other = [{"from": "system", "value": "be"}, {"from": "human", "value": "hi"}]
    (tmp_path / "a.jsonl").write_text(_lines([{"messages": plain}, {"messages": other}]))
    first, second = _read(tmp_path / "a.jsonl")
    assert first == second and [turn["role"] for turn in first.messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("name", "content", "keys", "told"),
    [
        (
            "a.jsonl",
            b'{"a": "x", "b": 1}\n',
            {},
            r"jsonl:1: has none of messages, prompt, text, but 'a', 'b'; ",
        ),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}\n', {}, r"jsonl:2: 'text' is neither a text nor a list"),
        ("a.jsonl", b'{"text": "x"}\n', {"field": "txet"}, r"jsonl:1: has no 'txet', but 'text'; name one"),
        ("a.jsonl", b'{"messages": [{"role": "user"}]}\n', {}, "a turn of a chat is an object with texts"),
        ("a.jsonl", b'{"text": "x"\n', {}, r"a\.jsonl:1: .*one JSON object"),
        ("a.jsonl.gz", b"not gzip", {}, "cannot be read"),
        ("a.txt", b"\xff\xfe", {}, "cannot be read"),
        ("a.csv", b"text\nx\n", {}, r"reads \.jsonl, .*; convert it"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(
    tmp_path: Path, name: str, content: bytes, keys: dict[str, str], told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=told):
        _read(tmp_path / name, **keys)
