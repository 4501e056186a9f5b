"""Models that see or hear: a text tower of a family that is known by itself, and what brings images and
sounds into its stream.

    h ← embed_tokens[token] at the positions of text;   h ← W_p·(vision tower's output) at those of an image

The last matrix of the projector (or merger, connector, aligner) writes embeddings as the embedding itself
does, its bias too; what stands before it, and the tower with a stream of its own, does not. A merger for each
of several layers (DeepStack) is added to the stream later, with nothing between. So a row here names the
projector; the text tower's rows are those of its own family, `text_config` says which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from surgery.model.families.parts import bias_of
from surgery.model.families.table import Family, Gain, Sites, WriterRow

_FOREIGN = ("vision_tower.", "vision_model.", "vision_encoder.", "visual.", "audio_tower.")
"""Starts of names in towers with a stream of their own; a writer's row comes before them."""

_PLACES = (
    "language_model.model.",
    "model.language_model.",
    "model.language_model.model.",
    "model.text_model.",
    "text_model.model.",
    "thinker.model.",
)
"""Where checkpoints keep what a text model by itself calls `model.`."""

_STARTS = ("", "language_model.", "model.language_model.", "text_model.", "decoder.")
"""Where checkpoints keep what a text model has at its top, its unembedding before all."""


@dataclass(frozen=True)
class Tower:
    """A group of model types with the same projector.

    `writers` and `readers` have full names, `{model.|}` for a beginning that not every checkpoint has; `text`
    is the family of a config that has no `text_config`. `alone` are the ends of names of modules and
    parameters that are looked at by themselves in the proof: what no random image reaches. `own` is the
    family of a text tower that has other names on disk here than by itself; `part` is the key of config.json
    under which its settings stand. `foreign` are starts of names, with or without `model.` before them, in
    parts with a stream of their own, beside the usual ones. `sites` are those of the model as a whole, where
    the text tower's own do not serve. `pads` is as in `Family`.
    """

    model_types: tuple[str, ...]
    writers: tuple[WriterRow, ...]
    readers: tuple[str, ...] = ()
    text: str = "llama"
    alone: tuple[str, ...] = ()
    own: Family | None = None
    part: str = "text_config"
    foreign: tuple[str, ...] = ()
    sites: Sites | None = None
    pads: bool = True


def linear(name: str, axis: int = 0, *, gain: Gain | None = None) -> tuple[WriterRow, ...]:
    """A matrix that writes embeddings, and its bias where there is one."""
    matrix = WriterRow("{model.|}" + name + ".weight", "embedding", axis, gain=gain)
    return matrix, replace(bias_of(matrix), optional=True)


def vector(name: str) -> WriterRow:
    """A parameter that is an embedding by itself."""
    return WriterRow("{model.|}" + name, "embedding", 0, bias=True)


def with_tower(model_type: str, tower: Tower, text: Family) -> Family:
    """The family of a model that has this text tower with that projector."""
    inner = tuple(prefix.removeprefix("model.") for prefix in text.prefixes)
    places = (
        *(start + prefix for start in ("language_model.", "decoder.") for prefix in text.prefixes),
        *(place + prefix for place in _PLACES for prefix in inner),
        *text.prefixes,
        *inner,
    )
    return replace(
        text,
        model_types=(model_type,),
        prefixes=tuple(dict.fromkeys(places)),
        unembedding=_anywhere(text.unembedding),
        outside=tower.writers,
        outside_readers=(*_anywhere(text.outside_readers), *tower.readers),
        foreign=(
            *text.foreign,
            *(start + name for name in (*_FOREIGN, *tower.foreign) for start in ("", "model.")),
        ),
        text_config=tower.part,
    )


def _anywhere(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(start + name for start in _STARTS for name in names)
