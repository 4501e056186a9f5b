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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surgery.dictionary.dictionary import Dictionary, encode, reconstruct
from surgery.errors import VerifyError
from surgery.hook_point import HookPoint
from surgery.model.interventions import Change, changing
from surgery.model.language_model import Batch, LanguageModel, run
from surgery.verify.activations import counted, logit_batches, observe
from surgery.verify.dictionary_places import Place, farther_places, places_of
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
    places = places_of(model, dictionary)
    tallies = _tally(model, dictionary, windows, places)
    if not _fits(tallies):
        farther = farther_places(model, places)
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


def _tally(
    model: LanguageModel,
    dictionary: Dictionary,
    windows: Sequence[Sequence[int]],
    places: Sequence[Place],
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
    place: Place | None = None,
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
