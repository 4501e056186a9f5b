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

from surgery.checkpoint.quantisation import refusal, scale_names
from surgery.errors import AnatomyError
from surgery.model.families import FAMILIES
from surgery.model.families.rows import Rows, draft_layers, fits, listing, presence_problems, resolve_rows
from surgery.model.families.table import (
    EXPERT_COUNTS,
    Family,
    Gain,
    Role,
    WriterRow,
    fill,
    match_pattern,
)
from surgery.model.families.unsupported import UNSUPPORTED

__all__ = ["Anatomy", "Gain", "Role", "Writer", "read_anatomy"]


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
    scales = scale_names(config, tensor_shapes)
    tensor_shapes = {name: shape for name, shape in tensor_shapes.items() if name not in scales}
    settings = family.text_settings(config)
    n_layers, d_model = _count(settings, family.depth), _count(settings, family.width)
    tied = _is_tied(family, config)
    rows = resolve_rows(family, tensor_shapes, tied=tied)
    rows = replace(
        rows,
        foreign=(*rows.foreign, *draft_layers(family, rows.prefix, settings, n_layers)),
        n_layers=n_layers,
        n_experts=_expert_count(rows.writers, settings),
    )
    found, readers, unknown = _classify(rows, tensor_shapes, settings)
    writers = [writer for writer, _ in found]
    problems = [
        *_setting_problems(family, settings),
        *_unknown_problems(unknown),
        *presence_problems(rows, {writer.tensor for writer in writers}, settings),
        *_shape_problems(found, tensor_shapes, d_model),
    ]
    if problems:
        raise AnatomyError(
            f"{family.name}: not every writer of this checkpoint is known:\n  " + "\n  ".join(problems)
        )
    return Anatomy(
        family.name, str(config["model_type"]), n_layers, d_model, tuple(writers), tuple(readers), tied
    )


def _find_family(config: Mapping[str, Any], tensor_shapes: Mapping[str, tuple[int, ...]]) -> Family:
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        why = UNSUPPORTED.get(str(model_type))
        because = f" ({why})" if why else ""
        raise AnatomyError(
            f"model type {model_type!r}: its writers are not in the tables{because}; known are"
            f" {', '.join(sorted(FAMILIES))}.{_candidates(config, tensor_shapes)}"
        )
    quantised = refusal(config)
    if quantised:
        raise AnatomyError(quantised)
    return FAMILIES[str(model_type)]


def _candidates(config: Mapping[str, Any], tensor_shapes: Mapping[str, tuple[int, ...]]) -> str:
    text = config.get("text_config")
    settings = text if isinstance(text, Mapping) else config
    width = settings.get("hidden_size", settings.get("n_embd", settings.get("d_model")))
    wide = [name for name, shape in tensor_shapes.items() if width in shape]
    kinds = sorted({".".join("*" if part.isdigit() else part for part in name.split(".")) for name in wide})
    if not kinds:
        return ""
    return f" Tensors as wide as its stream ({width}), to be classified:\n  " + listing(kinds)


def _count(settings: Mapping[str, Any], key: str) -> int:
    value = settings.get(key)
    if type(value) is not int or value < 1:
        raise AnatomyError(
            f"config.json: {key} must be a whole number >= 1, found {value!r}; use the model's own"
            " config.json"
        )
    return value


def _expert_count(rows: tuple[WriterRow, ...], settings: Mapping[str, Any]) -> int:
    if not any("{expert}" in row.pattern for row in rows):
        return 0
    key = next((key for key in EXPERT_COUNTS if key in settings), EXPERT_COUNTS[0])
    return _count(settings, key)


def _is_tied(family: Family, config: Mapping[str, Any]) -> bool:
    settings = family.text_settings(config)
    said = config.get("tie_word_embeddings", settings.get("tie_word_embeddings", family.tied_by_default))
    return bool(said)


_Found = tuple[Writer, WriterRow]


def _classify(
    rows: Rows, tensor_shapes: Mapping[str, tuple[int, ...]], settings: Mapping[str, Any]
) -> tuple[list[_Found], list[str], list[str]]:
    writers: list[_Found] = []
    readers: list[str] = []
    unknown: list[str] = []
    for name in tensor_shapes:
        found = _as_writer(rows, name, settings)
        if found is not None:
            writers.append(found)
        elif name.startswith(rows.foreign) or any(fits(rows, pattern, name) for pattern in rows.readers):
            readers.append(name)
        else:
            unknown.append(name)
    return writers, readers, unknown


def _as_writer(rows: Rows, name: str, settings: Mapping[str, Any]) -> _Found | None:
    for row in rows.writers:
        if fits(rows, row.pattern, name):
            match = match_pattern(row.pattern, name)
            layer = None if match is None else match.layer
            gain = _gain(row, layer, settings)
            writer = Writer(name, row.role, layer, row.residual_axis, gain, row.bias, name in rows.shared)
            return writer, row
    return None


def _gain(row: WriterRow, layer: int | None, settings: Mapping[str, Any]) -> Gain | None:
    if row.gain is None or (row.gain.flag is not None and not settings.get(row.gain.flag, True)):
        return None
    return Gain(fill(row.gain.tensor, layer), row.gain.offset)


def _setting_problems(family: Family, settings: Mapping[str, Any]) -> list[str]:
    return [
        f"config.json says {need.setting}: {settings[need.setting]!r}; {need.reason}"
        for need in family.needs
        if bool(settings.get(need.setting, need.value)) != need.value
    ]


def _unknown_problems(unknown: list[str]) -> list[str]:
    return [f"not recognised: {listing(unknown)}"] if unknown else []


def _shape_problems(
    found: list[_Found], tensor_shapes: Mapping[str, tuple[int, ...]], d_model: int
) -> list[str]:
    problems: list[str] = []
    for writer, row in found:
        shape = tensor_shapes[writer.tensor]
        if len(shape) != row.n_axes or shape[writer.residual_axis] != d_model:
            problems.append(
                f"{writer.tensor}: has shape {list(shape)}; expected {row.n_axes} axes with d_model {d_model}"
                f" on axis {writer.residual_axis}"
            )
        gain = writer.gain
        if gain is not None and tensor_shapes.get(gain.tensor) != (d_model,):
            problems.append(
                f"{gain.tensor}: the norm behind {writer.tensor} is missing or not of shape [{d_model}]"
            )
    return problems
