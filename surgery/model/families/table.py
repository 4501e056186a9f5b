"""The form of a family's table: which tensors on disk write to the residual stream, and which only read from
it.

A name in a table is a pattern; `{layer}` stands for a layer's number, written without leading zeros, and is
read as a number (layer 1 is never layer 10). Patterns are relative to the text tower's prefix, which differs
between files of one family.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Role = Literal["embedding", "attention_out", "mlp_out"]

_LAYER = r"(?P<layer>0|[1-9][0-9]{0,5})"


@dataclass(frozen=True)
class Gain:
    """An RMSNorm between a writer and the stream: it multiplies each coordinate by `offset` + the tensor."""

    tensor: str
    offset: float


@dataclass(frozen=True)
class WriterRow:
    """One kind of writer.

    `residual_axis` is the axis of the tensor on disk that runs along d_model. `needs` is the config flag
    without which the tensor does not exist (it must exist where the flag is set, and must not where it is
    not).
    """

    pattern: str
    role: Role
    residual_axis: int
    gain: Gain | None = None
    bias: bool = False
    needs: str | None = None


@dataclass(frozen=True)
class Family:
    """A group of model types that lay out their writers alike.

    Patterns in `writers` and `readers` are relative to the first of `prefixes` under which `embedding` is
    found. `outside` are writers with full names, beside the text tower; `foreign` are the starts of names in
    towers with a stream of their own. `text_config` is the key of config.json under which the text tower's
    settings stand, None where they are the top level. `tied_by_default` is what a config means that does not
    say whether the embedding is also the unembedding.
    """

    name: str
    model_types: tuple[str, ...]
    writers: tuple[WriterRow, ...]
    readers: tuple[str, ...]
    prefixes: tuple[str, ...] = ("model.",)
    embedding: str = "embed_tokens.weight"
    unembedding: tuple[str, ...] = ("lm_head.weight",)
    outside: tuple[WriterRow, ...] = ()
    outside_readers: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    text_config: str | None = None
    tied_by_default: bool = False

    def text_settings(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of config.json that describes the text tower."""
        part = config if self.text_config is None else config.get(self.text_config, {})
        return part if isinstance(part, Mapping) else {}


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(
        re.escape(pattern)
        .replace(re.escape("{layer}"), _LAYER, 1)
        .replace(re.escape("{layer}"), "(?P=layer)")
    )


def match_pattern(pattern: str, name: str) -> tuple[bool, int | None]:
    """Whether a name fits a pattern, and the layer in it where the pattern has one."""
    found = _compiled(pattern).fullmatch(name)
    if found is None:
        return False, None
    return True, int(found["layer"]) if "layer" in found.groupdict() else None


def fill(pattern: str, layer: int | None) -> str:
    """The name that a pattern stands for in one layer."""
    return pattern if layer is None else pattern.replace("{layer}", str(layer))
