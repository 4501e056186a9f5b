"""Sketches: what they keep of a matrix, against the whole of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgery.linalg.sketch import fit_relation, noise_edge, shared_subspace, spectrum_of


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 4))
def test_a_relation_of_the_whole_survives_in_the_sketch(seed: int, rank: int) -> None:
    random = np.random.default_rng(seed)
    A = random.standard_normal((40, 90))
    U = np.linalg.qr(random.standard_normal((40, rank)))[0]
    strengths = np.sort(random.uniform(0.2, 2.0, rank))[::-1]
    change = -U @ np.diag(strengths) @ U.T @ A
    omega = random.standard_normal((90, 8))
    found = spectrum_of(change @ omega)
    basis = found.vectors[:, :rank]
    assert np.linalg.norm(basis.T @ U) == pytest.approx(np.sqrt(rank), abs=1e-6)
    fit = fit_relation(basis.T @ change @ omega, basis.T @ A @ omega)
    assert fit.rest < 1e-9
    assert fit.skew < 1e-6
    assert fit.strengths == pytest.approx(strengths, abs=1e-5)


def test_a_random_right_side_is_no_relation() -> None:
    random = np.random.default_rng(0)
    rests = []
    for _ in range(200):
        before, change = random.standard_normal((1, 8)), random.standard_normal((1, 8))
        rests.append(fit_relation(change, before).rest)
    assert min(rests) > 0.1
    assert np.mean(rests) == pytest.approx(7 / 8, abs=0.03)


def test_a_rotation_is_skew() -> None:
    random = np.random.default_rng(0)
    before = random.standard_normal((2, 8))
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    assert fit_relation(-turn @ before, before).skew == pytest.approx(1)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_noise_stays_below_its_edge(spread: float) -> None:
    random = np.random.default_rng(1)
    d, n, columns = 200, 600, 8
    scales = np.exp(spread * random.standard_normal(d))
    edge = noise_edge(scales**2 * n, n, columns)
    tops = []
    for _ in range(20):
        noise = scales[:, None] * random.standard_normal((d, n))
        tops.append(spectrum_of(noise @ random.standard_normal((n, columns))).values[0])
    assert max(tops) < 1.6 * edge
    assert max(tops) > 0.3 * edge


def test_what_all_vectors_share_comes_first() -> None:
    random = np.random.default_rng(2)
    shared = np.eye(30)[3]
    vectors = shared[:, None] + 0.05 * random.standard_normal((30, 12))
    vectors /= np.linalg.norm(vectors, axis=0)
    rows, shares = shared_subspace(vectors, np.ones(12))
    assert abs(rows[0] @ shared) > 0.99
    assert shares[0] > 0.9
    assert shares.sum() == pytest.approx(1)
    assert rows @ rows.T == pytest.approx(np.eye(len(rows)), abs=1e-8)
