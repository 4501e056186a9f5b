"""Where texts and models come from, without torch: the embedded demo, JSONL and text files.

A document is what one forward pass sees: a chat (put into the model's template later), a prompt (a chat that
ends where the reply would begin) or plain text.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surgery.errors import OutputError, SourceError
from trainer.config import MODEL, TextSource

FIELDS = ("messages", "prompt", "text")


@dataclass(frozen=True)
class Document:
    """One text before tokenisation: either `text`, or `messages` in chat form."""

    text: str | None = None
    messages: tuple[dict[str, str], ...] = ()
    opens_reply: bool = False  # the template ends with the opening of the assistant's turn
    last_tokens: int | None = None  # keep only so many activations at the end


def model_folder(source: str, base: Path) -> Path:
    """Folder of a model named in a config: `demo:…`, or a path (relative ones from `base`).

    Raises: SourceError when there is no such model.
    """
    if source.startswith("demo:"):
        from surgery.demo import sources as demo

        return Path(demo.model_folder(source))
    folder = base / source
    if not (folder / "config.json").is_file():
        raise SourceError(
            f"model.source: {source}: no folder with a config.json; name a model folder or demo:refuser"
        )
    return folder


def _nobody(source: TextSource) -> list[Document]:
    raise SourceError(f"{source.source}: there is no model here that could write texts")


def documents(
    sources: Sequence[TextSource], base: Path, write: Callable[[TextSource], list[Document]] = _nobody
) -> list[Document]:
    """All documents of all sources, repeated as asked, in the order given; `write` gives those of the model.

    Raises: SourceError when a source is missing, empty or malformed.
    """
    found: list[Document] = []
    for source in sources:
        loaded = write(source) if source.source == MODEL else _load(source, base)
        found.extend(loaded * source.repeat)
    return found


def save_documents(path: Path, texts: Sequence[Document]) -> None:
    """Write texts as the JSON lines that `documents` reads.

    Raises: OutputError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            for each in texts:
                file.write(json.dumps(_record(each), ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error}; choose another --out") from error


def _record(text: Document) -> dict[str, Any]:
    if not text.messages:
        return {"text": text.text}
    return {"prompt": text.messages[0]["content"]} if text.opens_reply else {"messages": text.messages}


def _load(source: TextSource, base: Path) -> list[Document]:
    if source.source in ("demo:chats", "demo:documents"):
        loaded = _generated(source)
    else:
        path = _path(source.source, base)
        loaded = list(_lines(path, source.last_tokens))[: source.count]
    if not loaded:
        raise SourceError(f"{source.source}: holds no text; name a source that is not empty")
    return loaded


def _generated(source: TextSource) -> list[Document]:
    from surgery.demo import grammar

    if source.count is None:
        raise SourceError(f"{source.source}: is written on demand; add `count:`")
    if source.source == "demo:documents":
        texts = grammar.documents(source.count, source.seed)
        return [Document(text=text, last_tokens=source.last_tokens) for text in texts]
    chats = grammar.chats(source.count, source.seed)
    return [Document(messages=tuple(chat), last_tokens=source.last_tokens) for chat in chats]


def _path(name: str, base: Path) -> Path:
    if name.startswith("demo:"):
        from surgery.demo import sources as demo

        return Path(demo.prompt_file(name))
    path = base / name
    if not path.is_file():
        raise SourceError(
            f"{name}: no such file (looked for {path}); name a .jsonl or .txt file, or a demo: source"
        )
    if path.suffix not in (".jsonl", ".txt"):
        raise SourceError(f"{name}: this trainer reads .jsonl and .txt files; convert it")
    return path


def _lines(path: Path, last_tokens: int | None) -> Iterator[Document]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        if path.suffix == ".txt":
            yield Document(text=line, last_tokens=last_tokens)
            continue
        try:
            yield _document(json.loads(line), last_tokens)
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{path}:{number}: {error}; each line is an object with one of {', '.join(FIELDS)}"
            ) from error


def _document(record: Any, last_tokens: int | None) -> Document:
    if not isinstance(record, dict):
        raise TypeError("not an object")
    if "messages" in record:
        messages = tuple({"role": str(m["role"]), "content": str(m["content"])} for m in record["messages"])
        return Document(messages=messages, last_tokens=last_tokens)
    if "prompt" in record:
        user = {"role": "user", "content": str(record["prompt"])}
        return Document(messages=(user,), opens_reply=True, last_tokens=last_tokens)
    if "text" in record:
        return Document(text=str(record["text"]), last_tokens=last_tokens)
    raise KeyError("none of the known fields")
