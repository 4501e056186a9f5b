"""Where texts and models come from, without torch: the embedded demo, files here, and the Hub."""

import json
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from surgery.errors import OutputError, SourceError
from surgery.hub import is_hub_id
from trainer.config import MODEL, WRITTEN, ModelSettings, TextSource
from trainer.records import Document, read_texts


def is_on_hub(source: str, base: Path) -> bool:
    """Whether a model's name can only be that of a Hub repository."""
    return is_hub_id(source) and not source.startswith("demo:") and not (base / source).is_dir()


def model_folder(model: ModelSettings, base: Path) -> Path:
    """Folder of a config's model: `demo:…`, a path (relative ones from `base`), or of a Hub id the cache's.

    Raises: SourceError when there is no such model.
    """
    source = model.source
    if source.startswith("demo:"):
        from surgery.demo import sources as demo

        return Path(demo.model_folder(source))
    folder = base / source
    if is_on_hub(source, base):
        from surgery.hub import fetch_model

        folder = fetch_model(source, revision=model.revision).folder
    if not (folder / "config.json").is_file():
        raise SourceError(
            f"model.source: {source}: no folder with a config.json; name a model folder, a Hub id or"
            " demo:refuser"
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
    if source.source in WRITTEN:
        loaded = _generated(source)
    else:
        texts = chain.from_iterable(read_texts(path, source) for path in _files(source, base))
        loaded = list(islice(texts, source.count))
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


def _files(source: TextSource, base: Path) -> list[Path]:
    name = source.source
    if source.file is not None:
        from surgery.hub import fetch_dataset

        return fetch_dataset(name, source.file, revision=source.revision)[1]
    if name.startswith("demo:"):
        from surgery.demo import sources as demo

        return [Path(demo.prompt_file(name))]
    path = base / name
    if not path.is_file():
        raise SourceError(
            f"{name}: no such file (looked for {path}); name a file of texts, a demo: source, or, for a"
            " dataset of the Hub, its id and `file:`"
        )
    return [path]
