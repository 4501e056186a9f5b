"""Texts in files: JSON lines, JSON, Parquet and plain lines, each of them a chat, a prompt or a text.

.jsonl, .jsonl.gz     one object a line           .json      a list of objects, or one a line
.parquet              by pyarrow, where it is     .txt, .txt.gz    one text a line
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from surgery.errors import SourceError
from trainer.config import TextSource

FIELDS = ("messages", "prompt", "text")
FORMATS = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".txt", ".txt.gz")
ROLES = {"human": "user", "gpt": "assistant"}  # what the `from`/`value` form calls them
Place = tuple[int, Any]  # number of the line or row, from 1, and what stands there


@dataclass(frozen=True)
class Document:
    """One text before tokenisation: either `text`, or `messages` in chat form."""

    text: str | None = None
    messages: tuple[dict[str, str], ...] = ()
    opens_reply: bool = False  # the template ends with the opening of the assistant's turn
    last_tokens: int | None = None  # keep only so many activations at the end


def read_texts(path: Path, source: TextSource) -> Iterator[Document]:
    """The texts of one file, as `source` says.

    Raises: SourceError with file and line when the file is of another format, or a record holds no text.
    """
    for number, record in _records(path):
        try:
            yield _document(record, source)
        except (KeyError, TypeError) as error:
            raise SourceError(f"{path}:{number}: {error.args[0]}") from error


def _records(path: Path) -> Iterator[Place]:
    if not path.name.endswith(FORMATS):
        raise SourceError(f"{path}: this trainer reads {', '.join(FORMATS)}; convert it")
    if path.suffix == ".parquet":
        return _rows(path)
    if path.name.endswith((".txt", ".txt.gz")):
        return _lines(path)
    return _objects(path)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as file
        ):
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read: {error}; fetch or write it again") from error


def _objects(path: Path) -> Iterator[Place]:
    lines = _lines(path)
    first = next(lines, None)
    if path.suffix == ".json" and first is not None and first[1].lstrip().startswith("["):
        text = "\n".join([first[1], *(line for _, line in lines)])
        yield from enumerate(_parsed(path, 1, text), start=1)
        return
    for number, line in chain([first] if first else [], lines):
        yield number, _parsed(path, number, line)


def _parsed(path: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SourceError(f"{path}:{number}: {error}; each line is one JSON object") from error


def _rows(path: Path) -> Iterator[Place]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise SourceError(f"{path}: Parquet needs pyarrow; pip install pyarrow, or convert it") from error
    try:
        with ParquetFile(path) as file:
            batches = (batch.to_pylist() for batch in file.iter_batches(batch_size=1024))
            yield from enumerate(chain.from_iterable(batches), start=1)
    except (OSError, ArrowException) as error:
        raise SourceError(f"{path}: cannot be read: {error}; fetch or write it again") from error


def _document(record: Any, source: TextSource) -> Document:
    last = source.last_tokens
    if isinstance(record, str):
        return _text(record, opens=source.as_prompt, last_tokens=last)
    if not isinstance(record, dict):
        raise TypeError(f"not an object, with one of {', '.join(FIELDS)} in it")
    name = source.field or next((each for each in FIELDS if each in record), None)
    if name is None or name not in record:
        missing = f"no {source.field!r}" if source.field else f"none of {', '.join(FIELDS)}"
        raise KeyError(f"has {missing}, but {', '.join(map(repr, record))}; name one of them as `field:`")
    value = record[name]
    if isinstance(value, str):
        return _text(value, opens=source.as_prompt or name == "prompt", last_tokens=last)
    if isinstance(value, list) and value:
        return Document(messages=tuple(_turn(each) for each in value), last_tokens=last)
    raise TypeError(f"{name!r} is neither a text nor a list of turns")


def _text(text: str, *, opens: bool, last_tokens: int | None) -> Document:
    if opens:
        user = {"role": "user", "content": text}
        return Document(messages=(user,), opens_reply=True, last_tokens=last_tokens)
    return Document(text=text, last_tokens=last_tokens)


def _turn(turn: Any) -> dict[str, str]:
    if isinstance(turn, dict):
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        if isinstance(role, str) and isinstance(content, str):
            return {"role": ROLES.get(role, role), "content": content}
    raise TypeError("a turn of a chat is an object with texts `role` and `content`, or `from` and `value`")
