"""Solve on a few likely atoms, then prove in one pass that no other atom would have changed anything.

A pursuit on the whole dictionary reads it once a step. On the atoms of largest |⟨d_j, v⟩| alone it reads
nothing; what it leaves are claims, "with this residual r no other atom scores above s", and one matrix
product D [r₁ … r_n] tests them all. Atoms that reach a claim join, and it is solved again, until none does.
Then every step chose as it would have among all atoms: two passes in place of k where the guess was good, and
never many more than k, since each round proves at least one more step.

Products in the atoms' precision u are off by at most (d + 4) u ‖r‖, and whatever comes that close joins too;
inside, all is float64. So the choice is the float64 one whatever the precision of the pass.

A smaller shadow of the dictionary to choose by was measured and does not pay for one vector: at 49,152 ×
3,072 writing it costs 1.7 reads in bfloat16 and 16 in int8, and a product with it still 0.6 and 0.5 of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import numpy as np

from surgery.linalg.atoms import Atoms, SparseCode, all_products, best_atoms, rounding_bound

Found = TypeVar("Found")
LIKELY = 64


class Choose(Protocol):
    """For residuals (n, d) the best atom of each, (n,), and its signed product, (n,); see `best_atoms`."""

    def __call__(
        self, residuals: np.ndarray, excluded: Sequence[Sequence[int]] | None = None, /
    ) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class WorkingSet:
    """A few atoms, and what was claimed of all the others.

    Attributes:
        numbers: (w,) ascending.
        rows: (w, d) float64, unit length.
        nonnegative: whether a product counts as it is, or without its sign.
    """

    numbers: np.ndarray
    rows: np.ndarray
    nonnegative: bool
    claims: list[tuple[np.ndarray, float]] = field(default_factory=list)

    def scores(self, products: np.ndarray) -> np.ndarray:
        """What products count as."""
        return products if self.nonnegative else np.abs(products)

    def claim(self, residual: np.ndarray, limit: float) -> None:
        """Say that no atom outside has a score of `limit` or more with a residual (d,)."""
        self.claims.append((residual.copy(), limit))

    def best(
        self, residuals: np.ndarray, excluded: Sequence[Sequence[int]] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `best_atoms` of one residual (1, d), and claims that it is the best of all."""
        products = np.einsum("wd,d->w", self.rows, residuals[0])
        scores = self.scores(products).copy()
        if excluded is not None:
            scores[np.isin(self.numbers, list(excluded[0]))] = -np.inf
        at = int(scores.argmax())
        self.claim(residuals[0], float(scores[at]))
        return self.numbers[at : at + 1], products[at : at + 1]


def coded(
    atoms: Atoms,
    vectors: np.ndarray,
    pursue: Callable[[Choose, np.ndarray], list[list[SparseCode]]],
    *,
    nonnegative: bool,
) -> list[list[SparseCode]]:
    """The paths of vectors (n, d) by a pursuit: one on a working set, several together, one pass a step."""
    targets = np.asarray(vectors, dtype=np.float64)
    if len(targets) != 1:
        return pursue(partial(best_atoms, atoms, nonnegative=nonnegative), targets)

    def solve(working: WorkingSet) -> list[list[SparseCode]]:
        return pursue(working.best, targets)

    return proven(atoms, targets[0], solve, nonnegative=nonnegative)


def proven(
    atoms: Atoms,
    vector: np.ndarray,
    solve: Callable[[WorkingSet], Found],
    *,
    nonnegative: bool = False,
    likely: int = LIKELY,
) -> Found:
    """What `solve` finds among all atoms, from a working set that holds every atom which matters.

    Args:
        vector: (d,) float64, what is being coded.
        solve: finds it in a working set, and claims there what it takes for granted of the others.
        likely: how many atoms to begin with.
    """
    products = all_products(atoms, vector[None])[0]
    scores = products if nonnegative else np.abs(products)
    close = rounding_bound(atoms) * float(np.linalg.norm(vector))
    start = min(likely, len(atoms))
    least = np.partition(scores, len(atoms) - start)[len(atoms) - start]
    numbers = np.flatnonzero(scores >= least - 2 * close)
    while True:
        working = WorkingSet(numbers, atoms.unit(numbers), nonnegative)
        found = solve(working)
        # The first pass has proved already what is claimed of the vector itself.
        open_claims = [each for each in working.claims if not np.array_equal(each[0], vector)]
        joining = _reaching(atoms, working, open_claims)
        if not len(joining):
            return found
        numbers = np.union1d(numbers, joining)


def _reaching(atoms: Atoms, working: WorkingSet, claims: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
    """Atoms outside the set that may refute a claim, (n,) ascending: one pass for all claims."""
    if not claims or len(working.numbers) == len(atoms):
        return np.empty(0, dtype=np.int64)
    residuals = np.stack([residual for residual, _ in claims])
    limits = np.array([limit for _, limit in claims])
    limits -= rounding_bound(atoms) * np.linalg.norm(residuals, axis=1)
    products = all_products(atoms, residuals)
    reached = np.any(working.scores(products) >= limits[:, None], axis=0)
    reached[working.numbers] = False
    return np.flatnonzero(reached)
