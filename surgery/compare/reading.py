"""What kind of change one tensor underwent, read from its numbers and its sketch.

For a writer A (residual axis first) and its change Δ, with U the leading left vectors of Δ above rounding:

    orthogonal ablation   Δ = −U Λ Uᵀ A                 Λ symmetric, its eigenvalues the strengths
    oblique ablation      Δ = −(N r) λ (N⁻¹ r)ᵀ A       N the lengths of A's rows
    norm-preserving       one of these, and ‖B‖ = ‖A‖; an orthogonal one has (‖B‖² − ‖A‖²) / ‖Δ‖² = 1 − 2/λ
    low rank              few components above rounding, their right sides no such multiple of A
    dense                 anything else

A right side that is a multiple of UᵀA is a coincidence of n numbers, of which a sketch keeps 8: enough to
tell an ablation from an adapter that writes along one direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from surgery.compare.measure import Measured, Numbers
from surgery.linalg.sketch import Fit, Spectrum, fit_relation, spectrum_of

Array = npt.NDArray[np.float64]
Form = Literal[
    "ablation", "oblique", "norm_preserving", "row_norm_preserving", "low_rank", "dense", "vector", "opaque"
]

ABLATIONS = frozenset({"ablation", "oblique", "norm_preserving", "row_norm_preserving"})
"""Forms that take a component along a direction out of what the tensor writes."""
MOST_DIRECTIONS = 4
"""The rank up to which a sketch of 8 columns can be trusted: it may hide one of 8 components."""
_MARGIN = 1.6
_ARITHMETIC = 1e-3
_DOMINANT = 0.2
_EXPLAINED = 6.0
_SLACK = 1e-4
_ADAPTER_SHARE = 0.3
_UNFITTED = 0.05
_LOOSE = 0.25
_SYMMETRIC = 0.1
_BETTER = 0.25
_NORM_REST = 0.2
_NORM_DRIFT = 0.35
_KEPT = 0.1


@dataclass(frozen=True)
class Reading:
    """One changed tensor as a kind of change.

    Attributes:
        rank: components above rounding; as many as the sketch can show where it is dense.
        directions: what it was projected with, unit rows (rank, d), in the tensor's own coordinates.
        fit: how far the change is a multiple of what the tensor wrote there, None where that was not asked.
        share: of the energy above rounding that lies in those components.
        rest: energy outside of them, in units of what rounding alone leaves.
    """

    form: Form
    rank: int
    spectrum: tuple[float, ...]
    directions: Array
    fit: Fit | None
    share: float
    rest: float

    @property
    def stable_rank(self) -> float:
        """‖Δ‖² / σ₁² of the part above rounding."""
        if not self.spectrum or self.spectrum[0] == 0:
            return 0.0
        return float(sum(value**2 for value in self.spectrum) / self.spectrum[0] ** 2)


def read_change(measured: Measured, *, writer: bool) -> Reading:
    """Read one measured tensor. `writer` says that its residual axis is known."""
    if not measured.numbers.finite:
        return bare_reading("opaque", measured)
    if min(measured.view.d, measured.view.n) == 1:
        return bare_reading("vector", measured)
    spectrum = spectrum_of(measured.change)
    rank = rank_of(measured, spectrum)
    if writer:
        for count in _candidates(measured, spectrum, rank):
            found = _as_ablation(measured, spectrum, count)
            if found is not None:
                return found
    return _as_matrix(measured, spectrum, rank)


def bare_reading(form: Form, measured: Measured) -> Reading:
    """A reading without any algebra."""
    return Reading(form, 0, (), np.empty((0, measured.view.d)), None, 0.0, 0.0)


def rank_of(measured: Measured, spectrum: Spectrum) -> int:
    """How many singular values stand above what rounding does, and above what arithmetic in float32 does."""
    edge = max(_MARGIN * measured.edge, _ARITHMETIC * float(spectrum.values[0]))
    return int(np.count_nonzero(spectrum.values > edge))


def is_rounding(outside: float, numbers: Numbers) -> bool:
    """Whether an energy ‖·‖² outside of the first components is no more than rounding leaves."""
    return outside <= _EXPLAINED * numbers.floor + _SLACK * numbers.energy


def _candidates(measured: Measured, spectrum: Spectrum, rank: int) -> list[int]:
    """How many directions to try: what stands above rounding, and what dominates; the latter first where
    norms were kept, since then rescaling stands above rounding too."""
    dominant = min(rank, int(np.count_nonzero(spectrum.values > _DOMINANT * spectrum.values[0])))
    kept = abs(measured.numbers.growth) < _KEPT
    most = min(rank, MOST_DIRECTIONS, measured.view.d - 1)
    wanted = (dominant, 1, rank) if kept else (rank, dominant, 1)
    return [count for count in dict.fromkeys(wanted) if 1 <= count <= most]


def outside_of(measured: Measured, spectrum: Spectrum, count: int) -> float:
    """‖Δ‖² outside of the first components, from the sketch: E‖MΩ‖² = columns · ‖M‖².

    Each component that is taken out takes one column's share of the noise with it, for it was found there.
    """
    left = spectrum.values[count:]
    return float(min(np.sum(left**2) / len(left), measured.numbers.energy)) if left.size else 0.0


def _as_ablation(measured: Measured, spectrum: Spectrum, count: int) -> Reading | None:
    """The tensor as an ablation of `count` directions, or None where it is not one."""
    U = spectrum.vectors[:, :count]
    change = U.T @ measured.change
    fit = fit_relation(change, U.T @ measured.before)
    form: Form = "ablation"
    allowed = _allowed(measured, change)
    if count == 1 and fit.rest > allowed / 4:
        oblique, along = _as_oblique(measured, U, change)
        if oblique.rest < min(_LOOSE, _BETTER * fit.rest):
            form, fit, U = "oblique", oblique, along
    if form == "ablation" and (fit.skew > _SYMMETRIC or not _each_explained(measured, U, fit)):
        return None
    numbers, spare = measured.numbers, 0.0
    if _preserves_norm(measured, fit, exact=fit.rest <= allowed):
        form = "row_norm_preserving" if form == "oblique" else "norm_preserving"
        # The rescaling itself is neither along U nor a multiple of UᵀA.
        allowed, spare = _LOOSE, _NORM_REST * numbers.energy
    if fit.rest > allowed or not is_rounding(outside_of(measured, spectrum, count) - spare, numbers):
        return None
    return _reading(form, measured, spectrum, count, U.T, fit)


def _as_oblique(measured: Measured, u: Array, change: Array) -> tuple[Fit, Array]:
    """Δ as an oblique ablation: u = N r / ‖N r‖ (d, 1), so r is N⁻¹ u made unit and the right side N⁻² u.

    The strength is in units of that direction.
    """
    norms = np.maximum(measured.row_norms, measured.row_norms.max() * 1e-6)[:, None]
    fit = fit_relation(change, (u / norms**2).T @ measured.before)
    weight = float(np.sum((u / norms) ** 2))
    return Fit(fit.matrix * weight, fit.rest), np.linalg.qr(u / norms)[0]


def _each_explained(measured: Measured, U: Array, fit: Fit) -> bool:
    """Whether each direction by itself has lost a multiple of its own component, in columns as they are.

    Of several directions the strongest may hide that the others are noise, such as that of quantisation.
    """
    turn = np.linalg.eigh((fit.matrix + fit.matrix.T) / 2)[1]
    before, change = ((U @ turn).T @ side for side in measured.sample)
    return all(fit_relation(change[i : i + 1], before).rest <= _LOOSE for i in range(len(change)))


def _allowed(measured: Measured, change: Array) -> float:
    """How much of UᵀΔ may stay unexplained: rounding reaches there too, and weighs more in a weak edit."""
    columns = measured.change.shape[1]
    noise = measured.numbers.floor * len(change) / measured.view.d * columns
    energy = float(np.sum(change**2))
    return min(_LOOSE, _UNFITTED + _EXPLAINED * noise / energy) if energy else 0.0


def _preserves_norm(measured: Measured, fit: Fit, *, exact: bool) -> bool:
    """Whether ‖B‖ = ‖A‖ although an orthogonal ablation of this strength would have changed it.

    A reflection (λ = 2) keeps norms by itself, so where it explains the change it is the explanation.
    """
    strengths = fit.strengths
    expected = abs(float(np.mean([1 - 2 / value for value in strengths if value])))
    if expected > _NORM_DRIFT:
        return abs(measured.numbers.growth) < _NORM_DRIFT * expected
    return not exact and abs(measured.numbers.growth) < _KEPT


def _as_matrix(measured: Measured, spectrum: Spectrum, rank: int) -> Reading:
    numbers = measured.numbers
    smaller = min(measured.view.d, measured.view.n)
    outside = outside_of(measured, spectrum, rank)
    above = max(numbers.above_floor, 1e-300)
    inside = max(numbers.energy - outside, 0.0) / above
    low = (
        1 <= rank <= min(MOST_DIRECTIONS, max(1, smaller // 2))
        and is_rounding(outside, numbers)
        and inside >= _ADAPTER_SHARE
    )
    fit = None
    if rank:
        count = min(rank, MOST_DIRECTIONS)
        U = spectrum.vectors[:, :count]
        fit = fit_relation(U.T @ measured.change, U.T @ measured.before)
    rows = spectrum.vectors[:, : min(rank, MOST_DIRECTIONS)].T
    return _reading("low_rank" if low else "dense", measured, spectrum, rank, rows, fit)


def _reading(
    form: Form, measured: Measured, spectrum: Spectrum, rank: int, directions: Array, fit: Fit | None
) -> Reading:
    numbers, columns = measured.numbers, measured.change.shape[1]
    outside = outside_of(measured, spectrum, rank)
    inside = max(numbers.energy - outside, 0.0)
    # What rounding adds to a squared singular value of the sketch is typically its floor.
    shown = np.sqrt(np.maximum(spectrum.values**2 - numbers.floor, 0.0) / columns)
    return Reading(
        form=form,
        rank=rank,
        spectrum=tuple(float(value) for value in shown),
        directions=directions,
        fit=fit,
        share=min(1.0, inside / numbers.above_floor) if numbers.above_floor else 0.0,
        rest=outside / numbers.floor if numbers.floor else 0.0,
    )
