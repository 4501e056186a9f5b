"""Which tensors of a checkpoint write to the residual stream, and along which axis.

Read from config.json and the names and shapes on disk; no model is built and no tensor library imported. The
table of the model's family must account for every tensor, as writer or as reader, and every writer it expects
must be there for every layer: a tensor that nobody classified could be the one through which a removed
direction returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from surgery.checkpoint.quantisation import refusal, scale_names
from surgery.errors import AnatomyError
from surgery.model.families import FAMILIES, TOWERS, family_of, text_type
from surgery.model.families.rows import Rows, fits, listing, presence_problems, reads, resolve_rows
from surgery.model.families.settings import count, is_tied, layer_type
from surgery.model.families.table import (
    Family,
    Gain,
    Role,
    WriterRow,
    alternatives,
    fill,
    match_pattern,
)
from surgery.model.families.unsupported import UNSUPPORTED

__all__ = ["Anatomy", "Gain", "Role", "Writer", "read_anatomy"]


@dataclass(frozen=True)
class Writer:
    """A tensor whose output is added to the stream.

    `layer` is None for those before the first block; `tied` says that it is also (a copy of) the unembedding,
    `beside` that it stands beside the text tower and brings images or sounds in.
    """

    tensor: str
    role: Role
    layer: int | None
    residual_axis: int
    gain: Gain | None
    bias: bool
    tied: bool = False
    beside: bool = False


@dataclass(frozen=True)
class Anatomy:
    """Every tensor of a model as writer or reader, in disk order of names.

    `tied` says that the embedding is also the unembedding. Where both names are then on disk, both are
    writers here, since an edit must change both or neither. `unembedding` is the name that loaders look for
    it under, None where the checkpoint does not tell. `approximate` says why editing every writer does not
    clear the stream, in the families where it does not.
    """

    family: str
    model_type: str
    n_layers: int
    d_model: int
    writers: tuple[Writer, ...]
    readers: tuple[str, ...]
    tied: bool
    approximate: str | None = None
    unembedding: str | None = None


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
    d_model, tied = count(settings, family.width), is_tied(family, config)
    rows = resolve_rows(family, settings, tensor_shapes, tied=tied)
    found, readers, unknown = _classify(rows, tensor_shapes, settings, d_model)
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
        family.name,
        str(config["model_type"]),
        rows.n_layers,
        d_model,
        tuple(writers),
        tuple(readers),
        tied,
        family.approximate,
        _unembedding(family, rows.prefix, tensor_shapes),
    )


def _find_family(config: Mapping[str, Any], tensor_shapes: Mapping[str, tuple[int, ...]]) -> Family:
    family = family_of(config)
    if family is None:
        model_type = config.get("model_type")
        why = UNSUPPORTED.get(text_type(config))
        because = f" ({why.reason}; instead, {why.instead})" if why else ""
        raise AnatomyError(
            f"model type {model_type!r}: its writers are not in the tables{because}; known are"
            f" {', '.join(sorted({*FAMILIES, *TOWERS}))}.{_candidates(config, tensor_shapes)}"
        )
    quantised = refusal(config)
    if quantised:
        raise AnatomyError(quantised)
    return family


def _candidates(config: Mapping[str, Any], tensor_shapes: Mapping[str, tuple[int, ...]]) -> str:
    text = config.get("text_config")
    settings = text if isinstance(text, Mapping) else config
    width = settings.get("hidden_size", settings.get("n_embd", settings.get("d_model")))
    wide = [name for name, shape in tensor_shapes.items() if width in shape]
    kinds = sorted({".".join("*" if part.isdigit() else part for part in name.split(".")) for name in wide})
    if not kinds:
        return ""
    return f" Tensors as wide as its stream ({width}), to be classified:\n  " + listing(kinds)


def _unembedding(family: Family, prefix: str, present: Mapping[str, tuple[int, ...]]) -> str | None:
    """The name that stands on disk, or else the one that goes with the prefix of the text tower."""
    starts = ("language_model.", "text_model.", "decoder.")
    before = next((start for start in starts if prefix.startswith(start)), "")
    names = [name for name in family.unembedding if name in present]
    names += [before + name for name in family.unembedding if before + name in family.unembedding]
    return names[0] if names else None


_Found = tuple[Writer, WriterRow]


def _classify(
    rows: Rows, tensor_shapes: Mapping[str, tuple[int, ...]], settings: Mapping[str, Any], d_model: int
) -> tuple[list[_Found], list[str], list[str]]:
    writers: list[_Found] = []
    readers: list[str] = []
    unknown: list[str] = []
    for name in tensor_shapes:
        found = _as_writer(rows, name, settings, tensor_shapes, d_model)
        if found is not None:
            writers.append(found)
        elif reads(rows, name):
            readers.append(name)
        else:
            unknown.append(name)
    return writers, readers, unknown


def _as_writer(
    rows: Rows, name: str, settings: Mapping[str, Any], present: Mapping[str, tuple[int, ...]], d_model: int
) -> _Found | None:
    for row in rows.writers:
        if fits(rows, row.pattern, name):
            match = match_pattern(row.pattern, name)
            layer = None if match is None else match.layer
            gain = _gain(row.gain, layer, settings, present)
            axis = row.residual_axis
            if row.turned_axis is not None and present[name][axis] != d_model:
                axis = row.turned_axis
            tied, beside = name in rows.shared, row in rows.beside
            return Writer(name, row.role, layer, axis, gain, row.bias, tied, beside), row
    return None


def _gain(
    gain: Gain | None, layer: int | None, settings: Mapping[str, Any], present: Mapping[str, tuple[int, ...]]
) -> Gain | None:
    """The norms that this model has behind a writer, of those that its table names."""
    if gain is None:
        return None
    then = _gain(gain.then, layer, settings, present)
    if gain.flag is not None and not settings.get(gain.flag, gain.assumed):
        return then
    if gain.layer_type is not None and layer_type(settings, layer) != gain.layer_type:
        return then
    names = [fill(name, layer) for name in alternatives(gain.tensor)]
    name = next((name for name in names if name in present), names[0])
    return Gain(name, gain.offset, centred=gain.centred, then=then, taps=gain.taps)


def _setting_problems(family: Family, settings: Mapping[str, Any]) -> list[str]:
    return [
        f"config.json says {need.setting}: {settings[need.setting]!r}; {need.reason}"
        for need in family.needs
        if not need.met(settings)
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
        elif 0 in shape:
            problems.append(f"{writer.tensor}: has shape {list(shape)}, which holds no element")
        problems += [
            f"{gain.tensor}: what stands behind {writer.tensor} is missing or not {d_model} wide"
            for gain in (writer.gain.chain() if writer.gain is not None else ())
            if not _is_wide(gain, tensor_shapes.get(gain.tensor, ()), d_model)
        ]
    return problems


def _is_wide(gain: Gain, shape: tuple[int, ...], d_model: int) -> bool:
    return shape[:2] == (d_model, 1) and len(shape) == 3 if gain.taps else shape == (d_model,)
