"""The form of a family's table: which tensors on disk write to the residual stream, and which only read from
it.

A name in a table is a pattern. `{layer}` and `{expert}` stand for numbers, written without leading zeros and
read as numbers (layer 1 is never layer 10), `{index}` for any number; `{q|k|v}` stands for any one of the
words in it. Patterns are relative to the text tower's prefix, which differs between files of one family.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Role = Literal["embedding", "attention_out", "mlp_out"]

_NUMBER = "0|[1-9][0-9]{0,5}"
_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Gain:
    """A norm between a writer and the stream: it multiplies each coordinate by `offset` + the tensor.

    `centred` says that it takes the mean over coordinates away first, as a LayerNorm does. `then` is the norm
    that follows, nearer to the stream. In a table `flag` is the config flag without which there is no such
    norm, `assumed` what a config means that does not name it, and `layer_type` the only kind of layer, as
    `layer_types` in the config names it, that has the norm; `{a|b}` in the name is whichever is on disk.

    With `taps` it is a short convolution over positions instead, the tensor (d_model, 1, n): one gain for
    each position that it reaches back, and `offset` is added to that of the position itself, the last.
    """

    tensor: str
    offset: float
    flag: str | None = None
    centred: bool = False
    then: Gain | None = None
    assumed: bool = True
    layer_type: str | None = None
    taps: bool = False

    @property
    def kind(self) -> str:
        """What it is, in a word; a parameter that is no module's weight is a factor by itself."""
        if self.centred:
            return "LayerNorm"
        return "RMSNorm" if self.tensor.endswith(".weight") else "scale"

    @property
    def name(self) -> str:
        """Its own name, without where it stands."""
        return self.tensor.removesuffix(".weight").rsplit(".", 1)[-1]

    def chain(self) -> tuple[Gain, ...]:
        """This norm and those behind it, the one at the stream last."""
        return (self, *(() if self.then is None else self.then.chain()))


@dataclass(frozen=True)
class WriterRow:
    """One kind of writer.

    `residual_axis` is the axis of the tensor on disk that runs along d_model. `fused` says that all experts
    of a layer lie in one tensor, along its first axis. `needs` is the config flag without which the tensor
    does not exist (it must exist where the flag is set, and must not where it is not); `assumed` is what a
    config means that does not name it. `kind` is "slot:choice": in every layer exactly one choice of a slot
    is there, and whole ("mlp:dense", "mlp:sparse"). A row that is `optional` is edited where it is there and
    not missed where it is not. With the config flag `unless` set the tensor is no writer, if it is there.
    `turned_axis` is the residual axis of a tensor that lies the other way round, where loaders themselves go
    by its shape: by whether `residual_axis` has d_model entries.
    """

    pattern: str
    role: Role
    residual_axis: int
    gain: Gain | None = None
    bias: bool = False
    needs: str | None = None
    assumed: bool = False
    fused: bool = False
    kind: str | None = None
    optional: bool = False
    unless: str | None = None
    turned_axis: int | None = None

    @property
    def n_axes(self) -> int:
        """How many axes the tensor has."""
        return (1 if self.bias else 2) + self.fused

    def wanted(self, settings: Mapping[str, Any]) -> bool:
        """Whether a model with this config has the tensor."""
        return self.needs is None or bool(settings.get(self.needs, self.assumed))


@dataclass(frozen=True)
class Sites:
    """Names of modules in memory: inside a block those whose outputs are attn_out and mlp_out.

    `a|b` is whichever of the two the block has, `a+b` both where the block adds both, an empty name nothing:
    a block with one sublayer has that at attn_out. `blocks` is the path of the list of blocks from the model
    (`a+b` where there are two), None where it is `layers` of the decoder. `copies` are modules of a block,
    where it has them, that read a copy of the stream to which something else was added.
    """

    attn_out: str = "self_attn"
    mlp_out: str = "mlp"
    blocks: str | None = None
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """A group of model types that lay out their writers alike; it has the name of the first.

    Patterns in `writers`, of which the token embedding is the first, and in `readers` are relative to the
    first of `prefixes` that any tensor has. `outside` are writers with full names, beside the text tower;
    `foreign` are the starts of names in towers with a stream of their own. `text_config` is the key of
    config.json under which the text tower's settings stand, None where they are the top level; `width` and
    `depth` are the keys there for d_model and the number of layers (`a|b` is the first that is there; the
    length of a list counts). `tied_by_default` is what a config means that does not say whether the embedding
    is also the unembedding. `needs` are settings that must have this value for the table to hold, with the
    reason. `approximate` says why no edit of these writers can be exact, where none can: a leak is left,
    which the twin measures. `sites` are the modules that `surgery.model.sites` hooks. `pads` says whether a
    prompt gives the same with padding before it; not where positions are counted from the padding on, or a
    state runs through it.
    """

    model_types: tuple[str, ...]
    writers: tuple[WriterRow, ...]
    readers: tuple[str, ...]
    prefixes: tuple[str, ...] = ("model.",)
    unembedding: tuple[str, ...] = ("lm_head.weight",)
    outside: tuple[WriterRow, ...] = ()
    outside_readers: tuple[str, ...] = ("lm_head.bias",)
    foreign: tuple[str, ...] = ()
    text_config: str | None = None
    tied_by_default: bool = False
    width: str = "hidden_size"
    depth: str = "num_hidden_layers"
    needs: tuple[Need, ...] = ()
    approximate: str | None = None
    sites: Sites = Sites()
    pads: bool = True

    @property
    def name(self) -> str:
        """The first of its model types."""
        return self.model_types[0]

    @property
    def embedding(self) -> str:
        """The pattern of the token embedding, the first of its writers."""
        return self.writers[0].pattern

    def text_settings(self, config: Mapping[str, Any]) -> Mapping[str, Any]:
        """The part of config.json that describes the text tower."""
        part = config if self.text_config is None else config.get(self.text_config, config)
        return part if isinstance(part, Mapping) else {}


@dataclass(frozen=True)
class Need:
    """A setting that a table depends on. `value` is also what a config means that does not name it."""

    setting: str
    value: bool | str
    reason: str

    def met(self, settings: Mapping[str, Any]) -> bool:
        """Whether a config has it; of a setting that is on or off only that counts."""
        found = settings.get(self.setting, self.value)
        return (bool(found) if isinstance(self.value, bool) else found) == self.value


@dataclass(frozen=True)
class Match:
    """The numbers in a name that fits a pattern; None where the pattern has none."""

    layer: int | None
    expert: int | None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    seen: set[str] = set()
    for index, part in enumerate(_FIELD.split(pattern)):
        if index % 2 == 0:
            parts.append(re.escape(part))
        elif part in seen:
            parts.append(f"(?P={part})")
        elif part in ("layer", "expert", "index"):
            seen.add(part)
            parts.append(f"(?P<{part}>{_NUMBER})")
        else:
            parts.append(f"(?:{'|'.join(map(re.escape, part.split('|')))})")
    return re.compile("".join(parts))


def match_pattern(pattern: str, name: str) -> Match | None:
    """The layer and the expert of a name that fits a pattern, None where it does not fit."""
    found = _compiled(pattern).fullmatch(name)
    if found is None:
        return None
    numbers = {key: int(value) for key, value in found.groupdict().items()}
    return Match(numbers.get("layer"), numbers.get("expert"))


def fill(pattern: str, layer: int | None, expert: int | None = None) -> str:
    """The name that a pattern stands for in one layer, of one expert."""
    name = pattern if layer is None else pattern.replace("{layer}", str(layer))
    return name if expert is None else name.replace("{expert}", str(expert))


def alternatives(pattern: str) -> tuple[str, ...]:
    """The names that a pattern stands for by its `{a|b}`, of which it has one at most."""
    for field in _FIELD.findall(pattern):
        if "|" in field:
            return tuple(pattern.replace("{" + field + "}", choice, 1) for choice in field.split("|"))
    return (pattern,)
