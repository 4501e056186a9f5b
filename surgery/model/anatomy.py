"""Which tensors of a checkpoint write to the residual stream, and along which axis.

Read from config.json and the names and shapes on disk; no model is built and no tensor library imported. The
table of the model's family must account for every tensor, as writer or as reader, and every writer it expects
must be there for every layer: a tensor that nobody classified could be the one through which a removed
direction returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from surgery.errors import AnatomyError
from surgery.model.families import FAMILIES
from surgery.model.families.table import Family, Gain, Role, WriterRow, fill, match_pattern

__all__ = ["Anatomy", "Gain", "Role", "Writer", "read_anatomy"]

_LISTED = 12


@dataclass(frozen=True)
class Writer:
    """A tensor whose output is added to the stream.

    `layer` is None for those before the first block; `tied` says that it is also (a copy of) the unembedding.
    """

    tensor: str
    role: Role
    layer: int | None
    residual_axis: int
    gain: Gain | None
    bias: bool
    tied: bool = False


@dataclass(frozen=True)
class Anatomy:
    """Every tensor of a model as writer or reader, in disk order of names.

    `tied` says that the embedding is also the unembedding. Where both names are then on disk, both are
    writers here, since an edit must change both or neither.
    """

    family: str
    model_type: str
    n_layers: int
    d_model: int
    writers: tuple[Writer, ...]
    readers: tuple[str, ...]
    tied: bool


def read_anatomy(config: Mapping[str, Any], tensor_shapes: Mapping[str, tuple[int, ...]]) -> Anatomy:
    """Classify every tensor of a checkpoint.

    Args:
        config: the content of config.json.
        tensor_shapes: tensor name on disk → shape.

    Raises:
        AnatomyError: the model type is not in the tables, the weights are quantised, a tensor is not
            recognised, a writer is missing, or a writer's shape does not have d_model on its residual axis.
    """
    family = _find_family(config, tensor_shapes)
    settings = family.text_settings(config)
    n_layers, d_model = _count(settings, "num_hidden_layers"), _count(settings, "hidden_size")
    tied = _is_tied(family, config)
    rows = _resolve(family, tensor_shapes, tied=tied)
    writers, readers, unknown = _classify(rows, tensor_shapes, n_layers)
    problems = [
        *_unknown_problems(unknown),
        *_flag_problems(rows.writers, writers, settings, n_layers),
        *_shape_problems(writers, tensor_shapes, d_model),
    ]
    if problems:
        raise AnatomyError(
            f"{family.name}: not every writer of this checkpoint is known:\n  " + "\n  ".join(problems)
        )
    return Anatomy(
        family.name, str(config["model_type"]), n_layers, d_model, tuple(writers), tuple(readers), tied
    )


@dataclass(frozen=True)
class _Rows:
    """A family's table with the prefix of the checkpoint at hand put in."""

    writers: tuple[WriterRow, ...]
    readers: tuple[str, ...]
    foreign: tuple[str, ...]
    shared: frozenset[str]


def _find_family(config: Mapping[str, Any], tensor_shapes: Mapping[str, tuple[int, ...]]) -> Family:
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise AnatomyError(
            f"model type {model_type!r}: its writers are not in the tables; known are {known}."
            f"{_candidates(config, tensor_shapes)}"
        )
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, Mapping) else "unknown"
        raise AnatomyError(
            f"the weights are quantised ({method}), so a matrix on disk is not the one that runs; give the"
            " unquantised"
            " checkpoint, or save a dequantised one first"
        )
    return FAMILIES[str(model_type)]


def _candidates(config: Mapping[str, Any], tensor_shapes: Mapping[str, tuple[int, ...]]) -> str:
    text = config.get("text_config")
    settings = text if isinstance(text, Mapping) else config
    width = settings.get("hidden_size", settings.get("n_embd", settings.get("d_model")))
    wide = [name for name, shape in tensor_shapes.items() if width in shape]
    kinds = sorted({".".join("*" if part.isdigit() else part for part in name.split(".")) for name in wide})
    if not kinds:
        return ""
    return f" Tensors as wide as its stream ({width}), to be classified:\n  " + _listing(kinds)


def _count(settings: Mapping[str, Any], key: str) -> int:
    value = settings.get(key)
    if type(value) is not int or value < 1:
        raise AnatomyError(
            f"config.json: {key} must be a whole number >= 1, found {value!r}; use the model's own"
            " config.json"
        )
    return value


def _is_tied(family: Family, config: Mapping[str, Any]) -> bool:
    settings = family.text_settings(config)
    said = config.get("tie_word_embeddings", settings.get("tie_word_embeddings", family.tied_by_default))
    return bool(said)


def _resolve(family: Family, tensor_shapes: Mapping[str, tuple[int, ...]], *, tied: bool) -> _Rows:
    prefix = next(
        (p for p in family.prefixes if any(name.startswith(p) for name in tensor_shapes)), family.prefixes[0]
    )
    writers = [_prefixed(row, prefix) for row in family.writers]
    readers = [*(prefix + pattern for pattern in family.readers), *family.outside_readers]
    present = [name for name in family.unembedding if name in tensor_shapes]
    embedding = prefix + family.embedding
    if tied:
        copies = present if embedding in tensor_shapes else present[1:]
        first = embedding if embedding in tensor_shapes or not present else present[0]
        writers = [replace(row, pattern=first) if row.pattern == embedding else row for row in writers]
        writers += [WriterRow(name, "embedding", 1) for name in copies]
        shared = frozenset({first, *copies})
    else:
        readers += family.unembedding
        shared = frozenset[str]()
    writers += [row for row in family.outside if row.pattern in tensor_shapes]
    return _Rows(tuple(writers), tuple(readers), family.foreign, shared)


def _prefixed(row: WriterRow, prefix: str) -> WriterRow:
    gain = None if row.gain is None else replace(row.gain, tensor=prefix + row.gain.tensor)
    return replace(row, pattern=prefix + row.pattern, gain=gain)


def _classify(
    rows: _Rows, tensor_shapes: Mapping[str, tuple[int, ...]], n_layers: int
) -> tuple[list[Writer], list[str], list[str]]:
    writers: list[Writer] = []
    readers: list[str] = []
    unknown: list[str] = []
    for name in tensor_shapes:
        writer = _as_writer(rows, name, n_layers)
        if writer is not None:
            writers.append(writer)
        elif name.startswith(rows.foreign) or _is_reader(rows.readers, name, n_layers):
            readers.append(name)
        else:
            unknown.append(name)
    return writers, readers, unknown


def _as_writer(rows: _Rows, name: str, n_layers: int) -> Writer | None:
    for row in rows.writers:
        fits, layer = match_pattern(row.pattern, name)
        if fits and (layer is None or layer < n_layers):
            gain = None if row.gain is None else replace(row.gain, tensor=fill(row.gain.tensor, layer))
            return Writer(name, row.role, layer, row.residual_axis, gain, row.bias, name in rows.shared)
    return None


def _is_reader(patterns: tuple[str, ...], name: str, n_layers: int) -> bool:
    for pattern in patterns:
        fits, layer = match_pattern(pattern, name)
        if fits and (layer is None or layer < n_layers):
            return True
    return False


def _unknown_problems(unknown: list[str]) -> list[str]:
    return [f"not recognised: {_listing(unknown)}"] if unknown else []


def _flag_problems(
    rows: tuple[WriterRow, ...], writers: list[Writer], settings: Mapping[str, Any], n_layers: int
) -> list[str]:
    present = {writer.tensor for writer in writers}
    problems: list[str] = []
    for row in rows:
        layers: list[int | None] = list(range(n_layers)) if "{layer}" in row.pattern else [None]
        names = [fill(row.pattern, layer) for layer in layers]
        wanted = row.needs is None or bool(settings.get(row.needs, False))
        missing = [name for name in names if name not in present]
        spare = [name for name in names if name in present]
        if wanted and missing:
            problems.append(f"missing: {_listing(missing)}")
        if not wanted and spare:
            problems.append(f"config.json has no {row.needs}, so loaders would drop: {_listing(spare)}")
    return problems


def _shape_problems(
    writers: list[Writer], tensor_shapes: Mapping[str, tuple[int, ...]], d_model: int
) -> list[str]:
    problems: list[str] = []
    for writer in writers:
        shape = tensor_shapes[writer.tensor]
        axes = 1 if writer.bias else 2
        if len(shape) != axes or shape[writer.residual_axis] != d_model:
            problems.append(
                f"{writer.tensor}: has shape {list(shape)}; expected {axes} axes with d_model {d_model} on"
                f" axis {writer.residual_axis}"
            )
        gain = writer.gain
        if gain is not None and tensor_shapes.get(gain.tensor) != (d_model,):
            problems.append(
                f"{gain.tensor}: the norm behind {writer.tensor} is missing or not of shape [{d_model}]"
            )
    return problems


def _listing(names: list[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown}, and {len(names) - _LISTED} more"
