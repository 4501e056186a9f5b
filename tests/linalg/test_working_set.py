"""One vector on a working set chooses as it would among all atoms, with near ties and bad guesses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.atoms import Atoms, SparseCode, all_products, best_atoms, rounding_bound
from surgery.linalg.lasso import lasso_path
from surgery.linalg.matching import orthogonal_matching_pursuits
from surgery.linalg.pursuit import gradient_pursuits
from surgery.linalg.working_set import LIKELY, WorkingSet, proven

Rows = Callable[[np.random.Generator], np.ndarray]


def _spread(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((700, 24))


def _clustered(rng: np.random.Generator) -> np.ndarray:
    """Families of near copies, each larger than the first guess: the next atom is never in it."""
    centres = np.repeat(rng.standard_normal((6, 24)), 2 * LIKELY, axis=0)
    return centres + 0.05 * rng.standard_normal(centres.shape)


def _tied(rng: np.random.Generator) -> np.ndarray:
    """Copies that differ in one last bit of float32: their products tie in any float32 pass."""
    rows = np.repeat(rng.standard_normal((100, 24)), 7, axis=0).astype(np.float32)
    column = rng.integers(24, size=len(rows))
    rows[np.arange(len(rows)), column] = np.nextafter(rows[np.arange(len(rows)), column], np.float32(9.0))
    return rng.permutation(rows)


def _atoms(rows: np.ndarray) -> Atoms:
    held = rows.astype(np.float32)
    return Atoms(held, np.linalg.norm(held.astype(np.float64), axis=1))


def _plain(atoms: Atoms, vector: np.ndarray, k: int, *, refit: bool) -> list[int]:
    """The features of the paper's method, every product in float64, in the order they are taken."""
    unit = atoms.unit(np.arange(len(atoms)))
    support: list[int] = []
    weights = np.zeros(len(unit))
    while len(support) < k:
        residual = vector - weights @ unit
        products = np.einsum("md,d->m", unit, residual)
        scores = np.abs(products)
        if refit:
            scores[support] = -np.inf
        number = int(scores.argmax())
        support += [number] if number not in support else []
        if refit:
            weights[support] = np.linalg.lstsq(unit[support].T, vector, rcond=None)[0]
        else:
            gradient = np.zeros(len(unit))
            gradient[support] = products[support]
            step = gradient @ unit
            weights += (step @ residual) / (step @ step) * gradient
    return support


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([_spread, _clustered, _tied]), st.booleans())
def test_chooses_what_float64_chooses_among_all(seed: int, k: int, make: Rows, refit: bool) -> None:
    rng = np.random.default_rng(seed)
    atoms, vectors = _atoms(make(rng)), rng.standard_normal((3, 24))
    method = orthogonal_matching_pursuits if refit else gradient_pursuits
    for vector, together in zip(vectors, method(atoms, vectors, k), strict=True):
        expected = _plain(atoms, vector, k, refit=refit)
        assert method(atoms, vector[None], k)[0][-1].features.tolist() == expected
        assert together[-1].features.tolist() == expected


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([_spread, _clustered]))
def test_the_lasso_meets_its_conditions_among_all(seed: int, make: Rows) -> None:
    rng = np.random.default_rng(seed)
    atoms, vector = _atoms(make(rng)), rng.standard_normal(24)
    unit = atoms.unit(np.arange(len(atoms)))
    code = lasso_path(atoms, vector, 2)[-1]
    products = unit @ (vector - code.coefficients @ unit[code.features])
    penalty = float(np.abs(products[code.features]).max())
    np.testing.assert_allclose(products[code.features], penalty * np.sign(code.coefficients), rtol=1e-8)
    assert np.abs(products).max() <= penalty * (1 + 1e-8)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 31, 40])
def test_products_of_few_and_many_vectors_stay_within_the_bound(n: int) -> None:
    rng = np.random.default_rng(n)
    atoms, vectors = _atoms(rng.standard_normal((4500, 40)) * 1e3), rng.standard_normal((n, 40))
    exact = vectors @ atoms.unit(np.arange(len(atoms))).T
    bound = rounding_bound(atoms) * np.linalg.norm(vectors, axis=1)
    assert (np.abs(all_products(atoms, vectors) - exact) <= bound[:, None]).all()


def test_the_first_of_equal_atoms_is_taken_and_none_that_is_excluded() -> None:
    atoms = Atoms(np.eye(4, dtype=np.float32)[[2, 1, 1, 0]])
    numbers, products = best_atoms(atoms, np.array([[0.0, -2.0, 1.0, 0.0]] * 2), [[], [1]])
    assert numbers.tolist() == [1, 2]
    assert products.tolist() == [-2.0, -2.0]


def test_solves_again_until_no_atom_outside_reaches_a_claim() -> None:
    atoms = Atoms(np.eye(6))
    vector = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    sizes = []

    def solve(working: WorkingSet) -> SparseCode:
        sizes.append(len(working.numbers))
        working.claim(vector * [0, 0, 0, 1, 1, 1], 2.5)
        return SparseCode(working.numbers, np.zeros(len(working.numbers)))

    assert proven(atoms, vector, solve, likely=2).features.tolist() == [0, 1, 3]
    assert sizes == [2, 3]
