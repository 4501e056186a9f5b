"""The form of what stands beside a text tower: what brings images and sounds into its stream."""

from __future__ import annotations

from dataclasses import dataclass, replace

from surgery.model.families.parts import bias_of
from surgery.model.families.table import Family, Gain, WriterRow


@dataclass(frozen=True)
class Tower:
    """A group of model types with the same projector. `writers` and `readers` have full names, `{model.|}`
    for a beginning that not every checkpoint has; `text` is the family of a config that has no `text_config`.
    `alone` are the ends of names of modules and parameters that are looked at by themselves in the proof:
    what no random image reaches. `own` is the family of a text tower that has other names on disk here than
    by itself; `part` is the key of config.json under which its settings stand, and `foreign` are starts of
    names in an encoder that it only reads.
    """

    model_types: tuple[str, ...]
    writers: tuple[WriterRow, ...]
    readers: tuple[str, ...] = ()
    text: str = "llama"
    alone: tuple[str, ...] = ()
    own: Family | None = None
    part: str = "text_config"
    foreign: tuple[str, ...] = ()


def linear(name: str, axis: int = 0, *, gain: Gain | None = None) -> tuple[WriterRow, ...]:
    """A matrix that writes embeddings, and its bias where there is one."""
    matrix = WriterRow("{model.|}" + name + ".weight", "embedding", axis, gain=gain)
    return matrix, replace(bias_of(matrix), optional=True)


def vector(name: str) -> WriterRow:
    """A parameter that is an embedding by itself."""
    return WriterRow("{model.|}" + name, "embedding", 0, bias=True)
