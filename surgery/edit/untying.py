"""Giving a tied model an unembedding of its own, so that its embedding can be edited by itself.

The embedding's bytes, as they were, become a second tensor right behind it in the same file; what stood
behind the embedding moves on by that much, config.json says `tie_word_embeddings: false` and the index knows
the new tensor. It is the one case in which a header, the config and the index are written anew. Where both
tensors stand on disk already, only the config is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surgery.checkpoint.header import PREFIX_BYTES, Header, parse_json
from surgery.checkpoint.layout import CONFIG_FILE, INDEX_FILE, Checkpoint
from surgery.checkpoint.pair import same_bytes, slot_of
from surgery.errors import EditError
from surgery.model.anatomy import Anatomy

_KEY = "tie_word_embeddings"
_SAID = re.compile(rb'("tie_word_embeddings"\s*:\s*)(?:true|null)\b')
_TEXT = re.compile(rb'"text_config"\s*:\s*\{')


@dataclass(frozen=True)
class Untying:
    """`unembedding` keeps what `embedding` held; it is a new tensor in `file` where it is `copied`, and else
    was on disk already.
    """

    embedding: str
    unembedding: str
    file: str
    copied: bool


def plan_untying(checkpoint: Checkpoint, anatomy: Anatomy) -> Untying:
    """How a tied model gets an unembedding of its own.

    Raises:
        EditError: it has none to get, or its copies on disk differ.
    """
    check_copies(checkpoint, anatomy)
    tied = [writer.tensor for writer in anatomy.writers if writer.tied]
    embeddings = [name for name in tied if name != anatomy.unembedding]
    if anatomy.unembedding is None or len(embeddings) != 1:
        raise EditError(
            f"{', '.join(tied)}: is both embedding and unembedding under one name, and the name of the other"
            " is not known for this checkpoint, so it cannot be untied; use `tied: accept` or `tied: skip`"
        )
    embedding = embeddings[0]
    file, _ = checkpoint.entry(embedding)
    return Untying(embedding, anatomy.unembedding, file, copied=len(tied) == 1)


def check_copies(checkpoint: Checkpoint, anatomy: Anatomy) -> None:
    """Refuse a tied embedding whose copies on disk differ: to some loaders the second one only reads.

    Raises:
        EditError: naming the copy.
    """
    tied = [writer.tensor for writer in anatomy.writers if writer.tied]
    tied.sort(key=lambda name: name == anatomy.unembedding)
    for copy in tied[1:]:
        if not same_bytes(slot_of(checkpoint, tied[0]), slot_of(checkpoint, copy)):
            raise EditError(
                f"{copy}: differs from {tied[0]}, to which config.json ties it, so loaders disagree on what"
                " this model is; remove one of the two, or say `tie_word_embeddings: false` there"
            )


def result_header(untying: Untying | None, header: Header, file: str) -> bytes:
    """The header of one file of the result: the source's, but for the file that gets a new tensor."""
    if untying is None or not untying.copied or untying.file != file:
        return header.raw
    entry = header.tensors[untying.embedding]
    table: dict[str, Any] = {}
    for name, value in parse_json(header.raw[PREFIX_BYTES:], f"{header.path}: header").items():
        moved = name in header.tensors and header.tensors[name].start >= entry.end
        table[name] = _further(value, entry.n_bytes) if moved else value
        if name == untying.embedding:
            table[untying.unembedding] = _further(value, entry.n_bytes)
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(PREFIX_BYTES, "little") + text


def rewritten_files(untying: Untying | None, checkpoint: Checkpoint) -> dict[str, bytes]:
    """What the side files that change hold afterwards, by name."""
    if untying is None:
        return {}
    files = {CONFIG_FILE: _untied_config((checkpoint.folder / CONFIG_FILE).read_bytes())}
    if untying.copied and INDEX_FILE in checkpoint.side_files:
        files[INDEX_FILE] = _wider_index((checkpoint.folder / INDEX_FILE).read_bytes(), untying, checkpoint)
    return files


def added_bytes(untying: Untying | None, checkpoint: Checkpoint) -> int:
    """By how much the result is larger than the source."""
    if untying is None or not untying.copied:
        return 0
    header = checkpoint.headers[untying.file]
    entry = header.tensors[untying.embedding]
    return entry.n_bytes + len(result_header(untying, header, untying.file)) - len(header.raw)


def _further(value: Mapping[str, Any], n_bytes: int) -> dict[str, Any]:
    start, end = value["data_offsets"]
    return {**value, "data_offsets": [start + n_bytes, end + n_bytes]}


def _untied_config(text: bytes) -> bytes:
    """config.json with nothing else changed, not even its layout."""
    text = _SAID.sub(rb"\1false", text)
    config = parse_json(text, CONFIG_FILE, is_config=True)
    tower = config.get("text_config")
    if isinstance(tower, dict) and _KEY not in tower:
        text = _TEXT.sub(rb'\g<0>"tie_word_embeddings": false, ', text, count=1)
    if _KEY not in config:
        text = text.replace(b"{", b'{\n  "tie_word_embeddings": false,', 1)
    return text


def _wider_index(text: bytes, untying: Untying, checkpoint: Checkpoint) -> bytes:
    index = parse_json(text, INDEX_FILE)
    index["weight_map"][untying.unembedding] = untying.file
    entry = checkpoint.tensors[untying.embedding]
    about = index.get("metadata")
    for key, more in (("total_size", entry.n_bytes), ("total_parameters", math.prod(entry.shape))):
        if isinstance(about, dict) and type(about.get(key)) is int:
            about[key] += more
    return (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()
