"""Does a dictionary belong where it says: its quality at its hook point and one layer to either side.

    FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖²            x̄ the mean over all tokens; 1 is what the mean alone gives
    L0 = mean number of active features     dead = share of features that fire on no token
    loss recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)

with the cross-entropy when the activations are left, replaced by 0, and replaced by the dictionary's output.
A transcoder reads x at one hook point and is measured, and spliced in, at the one that it writes.
A dictionary read one layer off (`resid_pre` for `resid_post`, an index into `hidden_states`) fits its
neighbour better than the hook point it names, and a transcoder read on the wrong side of a norm's gain the
other side; that is what is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from surgery.dictionary.dictionary import Dictionary, encode, reconstruct
from surgery.errors import VerifyError
from surgery.hook_point import HookPoint, Site
from surgery.model.interventions import Change, changing
from surgery.model.language_model import Batch, LanguageModel, run
from surgery.model.sites import find_blocks
from surgery.verify.activations import counted, logit_batches, observe
from surgery.verify.progress import Progress, silent
from surgery.verify.tally import Tally

if TYPE_CHECKING:
    import torch

_ROWS = 512
_CLEARLY = 0.9
"""A neighbour is named where its FVU is below 1 and below this share of the hook point's own."""


@dataclass(frozen=True)
class Fit:
    """The numbers at one hook point; `loss_recovered` is None where zeros do the model no harm.

    `output_point` is what a transcoder writes, None of any other dictionary.
    """

    point: HookPoint
    output_point: HookPoint | None
    fvu: float
    l0: float
    dead_share: float
    ce_zero: float
    ce_spliced: float
    loss_recovered: float | None


@dataclass(frozen=True)
class DictionaryFit:
    """A dictionary on a model: at the hook point it names first, then at the neighbours that exist.

    Where it does not fit as it is named, the layer farther away that it fits best comes last, if that is
    better than all before.
    """

    tokens: int
    predicted_tokens: int
    ce_clean: float
    fits: tuple[Fit, ...]

    @property
    def named(self) -> Fit:
        return self.fits[0]

    @property
    def better(self) -> Fit | None:
        """The other place that it fits, and clearly better than its own hook point, if any."""
        best = min(self.fits, key=lambda fit: fit.fvu)
        return best if _clearly_better(best.fvu, self.named.fvu) else None

    @property
    def fits_model(self) -> bool:
        return self.better is None and self.named.fvu < 1


def measure_fit(
    model: LanguageModel,
    dictionary: Dictionary,
    windows: Sequence[Sequence[int]],
    *,
    progress: Progress = silent,
) -> DictionaryFit:
    """Measure a dictionary on token windows at its hook point and beside it.

    Raises:
        VerifyError: it does not say its hook point, or is as wide as another model.
        AnatomyError: the model has no such hook point.
    """
    places = _places(model, dictionary)
    tallies = _tally(model, dictionary, windows, places)
    if not _fits(tallies):
        farther = _farther(model, places)
        more = _tally(model, dictionary, windows, farther) if farther else []
        found = min(zip(more, farther, strict=True), key=lambda each: each[0].fvu(), default=None)
        best = min(tally.fvu() for tally in tallies)
        if found is not None and _clearly_better(found[0].fvu(), best):
            tallies, places = [*tallies, found[0]], (*places, found[1])
    total = 2 * len(places) + 2
    progress(1, total, "passes")
    clean, predicted = _cross_entropy(model, windows)
    progress(2, total, "passes")
    fits = []
    for number, (place, tally) in enumerate(zip(places, tallies, strict=True)):
        zero, _ = _cross_entropy(model, windows, place, None)
        progress(2 * number + 3, total, "passes")
        spliced, _ = _cross_entropy(model, windows, place, dictionary)
        progress(2 * number + 4, total, "passes")
        recovered = (zero - spliced) / (zero - clean) if zero > clean else None
        written = place.writes if dictionary.is_transcoder else None
        numbers = (tally.fvu(), tally.l0(), tally.dead(), zero, spliced, recovered)
        fits.append(Fit(place.reads, written, *numbers))
    return DictionaryFit(tallies[0].tokens, predicted, clean, tuple(fits))


def _fits(tallies: Sequence[Tally]) -> bool:
    """Whether the first of them is below 1, and no other is clearly better."""
    named = tallies[0].fvu()
    return named < 1 and not _clearly_better(min(tally.fvu() for tally in tallies), named)


def _clearly_better(fvu: float, than: float) -> bool:
    return fvu < min(1.0, _CLEARLY * than)


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
class _Place:
    """What is read, and what is written; the same of all but transcoders."""

    reads: HookPoint
    writes: HookPoint

    def beside(self, layers: int, n_layers: int) -> tuple[_Place, ...]:
        """The same so many layers away, where the model has them."""
        reads, writes = (replace(point, layer=point.layer + layers) for point in (self.reads, self.writes))
        exists = all(0 <= point.layer < n_layers for point in (reads, writes))
        return (_Place(reads, writes),) if exists else ()


def _places(model: LanguageModel, dictionary: Dictionary) -> tuple[_Place, ...]:
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
        return tuple(_Place(each, each) for each in (point, *neighbours(point, model.n_layers)))
    if dictionary.output_point is None:
        raise VerifyError(
            f"{dictionary.name} is a transcoder and names no hook point that it writes"
            f"{_said(dictionary, _WRITES)}; say it with --output-point mlp_out.{point.layer}"
        )
    named = _Place(point, dictionary.output_point)
    beside = (*named.beside(-1, model.n_layers), *named.beside(1, model.n_layers))
    return (named, *_across_the_gain(model, named), *beside)


def _farther(model: LanguageModel, near: Sequence[_Place]) -> tuple[_Place, ...]:
    """The first of some places in every layer where none of them is."""
    layers = range(-near[0].reads.layer, model.n_layers - near[0].reads.layer)
    everywhere = [place for layer in layers for place in near[0].beside(layer, model.n_layers)]
    return tuple(
        place for place in everywhere if not any(place.reads.same_stream(each.reads) for each in near)
    )


def _across_the_gain(model: LanguageModel, named: _Place) -> tuple[_Place, ...]:
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


def _tally(
    model: LanguageModel,
    dictionary: Dictionary,
    windows: Sequence[Sequence[int]],
    places: Sequence[_Place],
) -> list[Tally]:
    tallies = [Tally(dictionary.n_features, dictionary.d_model) for _ in places]
    points = list(dict.fromkeys(point for place in places for point in (place.reads, place.writes)))
    for seen in observe(model, windows, points):
        rows = {point: held[seen.counted] for point, held in zip(points, seen.activations, strict=True)}
        for tally, place in zip(tallies, places, strict=True):
            for start in range(0, len(rows[place.reads]), _ROWS):
                part = slice(start, start + _ROWS)
                codes = encode(dictionary, rows[place.reads][part])
                output = reconstruct(dictionary, rows[place.reads][part], codes)
                tally.add(rows[place.writes][part], output, codes)
    if tallies[0].tokens == 0:
        raise VerifyError("no token is left to measure on beside the first of each window")
    return tallies


def _cross_entropy(
    model: LanguageModel,
    windows: Sequence[Sequence[int]],
    place: _Place | None = None,
    dictionary: Dictionary | None = None,
) -> tuple[float, int]:
    """Mean over predicted tokens in nats, and their number; what is written at counted ones is replaced."""
    total, tokens = 0.0, 0
    for batch in logit_batches(model, windows):
        with ExitStack() as stack:
            if place is not None:
                read, put = _splice(model, batch, dictionary)
                # Hooks of one module run in the order they were set: it is read before it is replaced.
                stack.enter_context(changing(model, place.reads, read))
                stack.enter_context(changing(model, place.writes, put))
            loss, count = _loss(model, batch)
        total, tokens = total + loss, tokens + count
    return total / tokens, tokens


def _splice(model: LanguageModel, batch: Batch, dictionary: Dictionary | None) -> tuple[Change, Change]:
    """What keeps the counted tokens read, and what puts the dictionary's output for them, or 0, in place."""
    import torch

    mask = torch.from_numpy(counted(model, batch)).to(model.device)
    kept: list[np.ndarray] = []

    def read(hidden: torch.Tensor) -> torch.Tensor:
        kept[:] = [hidden[mask].detach().float().cpu().numpy()]
        return hidden

    def put(hidden: torch.Tensor) -> torch.Tensor:
        changed = hidden.clone()
        if dictionary is None:
            changed[mask] = 0.0
        else:
            (rows,) = kept
            outputs = [reconstruct(dictionary, rows[at : at + _ROWS]) for at in range(0, len(rows), _ROWS)]
            changed[mask] = torch.from_numpy(np.concatenate(outputs)).to(changed)
        return changed

    return read, put


def _loss(model: LanguageModel, batch: Batch) -> tuple[float, int]:
    import torch

    logits = run(model, batch)[:, :-1]
    real = batch.mask[:, :-1].bool() & batch.mask[:, 1:].bool()
    log_probs = torch.log_softmax(logits, dim=-1)
    taken = log_probs.gather(2, batch.tokens[:, 1:, None])[..., 0]
    return -float(taken[real].double().sum()), int(real.sum())
