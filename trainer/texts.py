"""The texts of a run as tokens, and those of the model itself as files."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from surgery.errors import SourceError
from trainer.config import MODEL, Config, DataSettings, TextSource
from trainer.journal import Notice, unheard
from trainer.records import Document
from trainer.sources import documents, model_folder, save_documents
from trainer.subject.model import Subject, check_context, load_subject, tokenize
from trainer.subject.writing import write
from trainer.tokens import Row, Tokens, rows_of


def tokens_of(
    subject: Subject, sources: Sequence[TextSource], data: DataSettings, base: Path, notice: Notice = unheard
) -> list[Tokens]:
    """All texts of all sources, in order, those without a token left out.

    Raises: SourceError when a source cannot be used, or the model has no room for `data.context` tokens.
    """
    check_context(subject, data)
    told = documents(sources, base, partial(write, subject, data=data, notice=notice))
    return tokenize(subject, told, data)


def held_out_rows(subject: Subject, config: Config, base: Path, notice: Notice = unheard) -> list[Row]:
    """The held-out texts as rows of tokens. Raises: SourceError when none is left."""
    texts = tokens_of(subject, config.data.held_out, config.data, base, notice)
    if not any(any(text.keep) for text in texts):
        raise SourceError("data.held_out holds no token to measure on; name a source that is not empty")
    return rows_of(texts, config.data.context, packed=config.data.packed)


def generate(
    config: Config, out: Path, *, base: Path = Path(), notice: Notice = unheard
) -> dict[Path, list[Document]]:
    """The texts of every `source: model` as files in `out`, train.jsonl and held_out.jsonl; what they hold.

    Raises: SourceError without such a source; OutputError.
    """
    parts = {
        out / f"{name}.jsonl": [each for each in getattr(config.data, name) if each.source == MODEL]
        for name in ("train", "held_out")
    }
    if not any(parts.values()):
        raise SourceError("data: no source is the model itself; add `- {source: model, count: …}`")
    subject = load_subject(model_folder(config.model, base), config.model)
    check_context(subject, config.data)
    texts = {
        path: documents(sources, base, partial(write, subject, data=config.data, notice=notice))
        for path, sources in parts.items()
        if sources
    }
    for path, found in texts.items():
        save_documents(path, found)
    return texts
