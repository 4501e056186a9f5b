"""Where a dictionary is looked for on a model: at the hook point it names, and where a wrong name puts it.

One layer to either side, on the other side of the gain of the norm before the MLP, then in every layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from surgery.dictionary.dictionary import Dictionary
from surgery.errors import VerifyError
from surgery.hook_point import HookPoint, Site
from surgery.model.language_model import LanguageModel
from surgery.model.sites import find_blocks


def neighbours(point: HookPoint, n_layers: int) -> tuple[HookPoint, ...]:
    """The same site one layer before and after; of the last layer's input, its output."""
    if point.site == "resid_pre":
        after = HookPoint(point.layer, "resid_post")
        return (*((HookPoint(point.layer - 1, "resid_pre"),) if point.layer else ()), after)
    if point.site == "resid_post":
        before = HookPoint(point.layer, "resid_pre")
        later = point.layer + 1
        return (before, *((HookPoint(later, "resid_post"),) if later < n_layers else ()))
    beside = (point.layer - 1, point.layer + 1)
    return tuple(HookPoint(layer, point.site) for layer in beside if 0 <= layer < n_layers)


@dataclass(frozen=True)
class Place:
    """What is read, and what is written; the same of all but transcoders."""

    reads: HookPoint
    writes: HookPoint

    def beside(self, layers: int, n_layers: int) -> tuple[Place, ...]:
        """The same so many layers away, where the model has them."""
        reads, writes = (replace(point, layer=point.layer + layers) for point in (self.reads, self.writes))
        exists = all(0 <= point.layer < n_layers for point in (reads, writes))
        return (Place(reads, writes),) if exists else ()


def places_of(model: LanguageModel, dictionary: Dictionary) -> tuple[Place, ...]:
    """The place that it names, then those one layer away."""
    point = dictionary.hook_point
    if point is None:
        raise VerifyError(
            f"{dictionary.name} names no hook point of this kind{_said(dictionary, READS)}; say it with"
            f" --hook-point {'mlp_in' if dictionary.is_transcoder else 'resid_post'}.20"
        )
    widths = {"reads": dictionary.d_in, "writes": dictionary.d_model}
    for verb, width in widths.items():
        if width != model.d_model:
            raise VerifyError(
                f"{dictionary.name} {verb} {width} numbers a token and {model.name} has d_model"
                f" {model.d_model}; it was trained on another model"
            )
    if not dictionary.is_transcoder:
        return tuple(Place(each, each) for each in (point, *neighbours(point, model.n_layers)))
    if dictionary.output_point is None:
        raise VerifyError(
            f"{dictionary.name} is a transcoder and names no hook point that it writes"
            f"{_said(dictionary, _WRITES)}; say it with --output-point mlp_out.{point.layer}"
        )
    named = Place(point, dictionary.output_point)
    beside = (*named.beside(-1, model.n_layers), *named.beside(1, model.n_layers))
    return (named, *_across_the_gain(model, named), *beside)


def farther_places(model: LanguageModel, near: Sequence[Place]) -> tuple[Place, ...]:
    """The first of some places in every layer where none of them is."""
    layers = range(-near[0].reads.layer, model.n_layers - near[0].reads.layer)
    everywhere = [place for layer in layers for place in near[0].beside(layer, model.n_layers)]
    return tuple(
        place for place in everywhere if not any(place.reads.same_stream(each.reads) for each in near)
    )


def _across_the_gain(model: LanguageModel, named: Place) -> tuple[Place, ...]:
    """The same on the other side of the gain of the norm before the MLP, where the model has a known one."""
    other: dict[Site, Site] = {"mlp_in": "mlp_normalized", "mlp_normalized": "mlp_in"}
    site, blocks = other.get(named.reads.site), find_blocks(model.network)
    if site is None or named.reads.layer >= len(blocks) or blocks[named.reads.layer].mlp_norm is None:
        return ()
    return (replace(named, reads=replace(named.reads, site=site)),)


READS = ("hook_name", "hookpoint", "hook_point_in", "hf_hook_point_in")
_WRITES = ("hook_name_out", "hook_point_out", "hf_hook_point_out")


def said_of_place(dictionary: Dictionary, keys: Sequence[str]) -> str | None:
    """What a dictionary's files say of a place, under the first of some keys that says anything."""
    return next((str(dictionary.metadata[key]) for key in keys if dictionary.metadata.get(key)), None)


def _said(dictionary: Dictionary, keys: Sequence[str]) -> str:
    found = said_of_place(dictionary, keys)
    return "" if found is None else f" (its files say {found!r})"
