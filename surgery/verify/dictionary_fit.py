"""Does a dictionary belong where it says: its quality at its hook point and one layer to either side.

    FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖²            x̄ the mean over all tokens; 1 is what the mean alone gives
    L0 = mean number of active features     dead = share of features that fire on no token
    loss recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)

with the cross-entropy when the activations are left, replaced by 0, and replaced by the dictionary's output.
A dictionary read one layer off (`resid_pre` for `resid_post`, an index into `hidden_states`) fits its
neighbour better than the hook point it names; that is what is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from surgery.dictionary.dictionary import Dictionary, encode, reconstruct
from surgery.errors import VerifyError
from surgery.hook_point import HookPoint
from surgery.model.interventions import Change, changing
from surgery.model.language_model import Batch, LanguageModel, run
from surgery.verify.activations import counted, logit_batches, observe
from surgery.verify.progress import Progress, silent

if TYPE_CHECKING:
    import torch

_ROWS = 512
_CLEARLY = 0.9
"""A neighbour is named where its FVU is below this share of the hook point's own."""


@dataclass(frozen=True)
class Fit:
    """The numbers at one hook point; `loss_recovered` is None where zeros do the model no harm."""

    point: HookPoint
    fvu: float
    l0: float
    dead_share: float
    ce_zero: float
    ce_spliced: float
    loss_recovered: float | None


@dataclass(frozen=True)
class DictionaryFit:
    """A dictionary on a model: at the hook point it names first, then at the neighbours that exist."""

    tokens: int
    predicted_tokens: int
    ce_clean: float
    fits: tuple[Fit, ...]

    @property
    def named(self) -> Fit:
        return self.fits[0]

    @property
    def better(self) -> Fit | None:
        """The neighbour that it clearly fits better than its own hook point, if any."""
        best = min(self.fits, key=lambda fit: fit.fvu)
        return best if best.fvu < _CLEARLY * self.named.fvu else None

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
        VerifyError: it does not say its hook point, is a transcoder, or is as wide as another model.
        AnatomyError: the model has no such hook point.
    """
    points = _points(model, dictionary)
    total = 2 * len(points) + 2
    tallies = _tally(model, dictionary, windows, points)
    progress(1, total, "passes")
    clean, predicted = _cross_entropy(model, windows)
    progress(2, total, "passes")
    fits = []
    for number, (point, tally) in enumerate(zip(points, tallies, strict=True)):
        zero, _ = _cross_entropy(model, windows, point, None)
        progress(2 * number + 3, total, "passes")
        spliced, _ = _cross_entropy(model, windows, point, dictionary)
        progress(2 * number + 4, total, "passes")
        recovered = (zero - spliced) / (zero - clean) if zero > clean else None
        fits.append(Fit(point, tally.fvu(), tally.l0(), tally.dead(), zero, spliced, recovered))
    return DictionaryFit(tallies[0].tokens, predicted, clean, tuple(fits))


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


class Tally:
    """Running sums in float64; `add` batches, then read."""

    def __init__(self, n_features: int, d: int) -> None:
        self.tokens = 0
        self._error = self._active = self._square = 0.0
        self._sum = np.zeros(d)
        self._shift: np.ndarray | None = None
        self._fired = np.zeros(n_features, dtype=bool)

    def add(self, x: np.ndarray, output: np.ndarray, codes: np.ndarray) -> None:
        """Count activations (n, d), the outputs for them (n, d), and their codes (n, n_features)."""
        exact = x.astype(np.float64)
        if self._shift is None:
            # Squares about a point near the mean keep the digits that squares about zero lose.
            self._shift = exact.mean(axis=0)
        self.tokens += len(x)
        self._error += float(np.square(exact - output).sum())
        centred = exact - self._shift
        self._sum += centred.sum(axis=0)
        self._square += float(np.square(centred).sum())
        self._active += float(np.count_nonzero(codes))
        self._fired |= codes.any(axis=0)

    def fvu(self) -> float:
        spread = self._square - float(self._sum @ self._sum) / self.tokens
        return self._error / spread if spread > 0 else float("nan")

    def l0(self) -> float:
        return self._active / self.tokens

    def dead(self) -> float:
        return float(1.0 - self._fired.mean())


def _points(model: LanguageModel, dictionary: Dictionary) -> tuple[HookPoint, ...]:
    point = dictionary.hook_point
    if point is None:
        said = dictionary.metadata.get("hook_name") or dictionary.metadata.get("hookpoint")
        raise VerifyError(
            f"{dictionary.name} names no hook point of the residual stream"
            + (f" (its files say {said!r})" if said else "")
            + "; say it with --hook-point resid_post.20"
        )
    if dictionary.is_transcoder:
        raise VerifyError(
            f"{dictionary.name} is a transcoder: it rebuilds an output from another place's input"
        )
    if dictionary.d_in != model.d_model:
        raise VerifyError(
            f"{dictionary.name} reads {dictionary.d_in} numbers a token and {model.name} has d_model"
            f" {model.d_model}; it was trained on another model"
        )
    return (point, *neighbours(point, model.n_layers))


def _tally(
    model: LanguageModel,
    dictionary: Dictionary,
    windows: Sequence[Sequence[int]],
    points: Sequence[HookPoint],
) -> list[Tally]:
    tallies = [Tally(dictionary.n_features, dictionary.d_model) for _ in points]
    for seen in observe(model, windows, points):
        for tally, activations in zip(tallies, seen.activations, strict=True):
            rows = activations[seen.counted]
            for start in range(0, len(rows), _ROWS):
                part = rows[start : start + _ROWS]
                codes = encode(dictionary, part)
                tally.add(part, reconstruct(dictionary, part, codes), codes)
    if tallies[0].tokens == 0:
        raise VerifyError("no token is left to measure on beside the first of each window")
    return tallies


def _cross_entropy(
    model: LanguageModel,
    windows: Sequence[Sequence[int]],
    point: HookPoint | None = None,
    dictionary: Dictionary | None = None,
) -> tuple[float, int]:
    """Mean over predicted tokens in nats, and their number; counted tokens at `point` are replaced."""
    total, tokens = 0.0, 0
    for batch in logit_batches(model, windows):
        if point is None:
            loss, count = _loss(model, batch)
        else:
            with changing(model, point, _splice(model, batch, dictionary)):
                loss, count = _loss(model, batch)
        total, tokens = total + loss, tokens + count
    return total / tokens, tokens


def _splice(model: LanguageModel, batch: Batch, dictionary: Dictionary | None) -> Change:
    """Puts the dictionary's output, or 0 without one, in the place of every counted token."""
    import torch

    mask = torch.from_numpy(counted(model, batch)).to(model.device)

    def change(hidden: torch.Tensor) -> torch.Tensor:
        changed = hidden.clone()
        if dictionary is None:
            changed[mask] = 0.0
        else:
            rows = hidden[mask].detach().float().cpu().numpy()
            outputs = [reconstruct(dictionary, rows[at : at + _ROWS]) for at in range(0, len(rows), _ROWS)]
            changed[mask] = torch.from_numpy(np.concatenate(outputs)).to(changed)
        return changed

    return change


def _loss(model: LanguageModel, batch: Batch) -> tuple[float, int]:
    import torch

    logits = run(model, batch)[:, :-1]
    real = batch.mask[:, :-1].bool() & batch.mask[:, 1:].bool()
    log_probs = torch.log_softmax(logits, dim=-1)
    taken = log_probs.gather(2, batch.tokens[:, 1:, None])[..., 0]
    return -float(taken[real].double().sum()), int(real.sum())
