"""The input scale and its exact fold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.architectures import ARCHITECTURES
from trainer.kinds import (
    BatchtopkSettings,
    GatedSettings,
    JumpreluSettings,
    MatryoshkaSettings,
    ReluSettings,
    TopkSettings,
    TranscoderSettings,
)
from trainer.normalization import Scales, estimate_scale, estimate_scales, fold
from trainer.parameters import decode, moved_on_sphere, unit_rows
from trainer.settings import Settings

D, M = 6, 10
KINDS: dict[str, Settings] = {
    "relu": ReluSettings(architecture="relu", features=M, coefficient=0.1),
    "gated": GatedSettings(architecture="gated", features=M, coefficient=0.1),
    "jumprelu": JumpreluSettings(architecture="jumprelu", features=M, coefficient=0.1),
    "topk": TopkSettings(architecture="topk", features=M, k=3),
    "batchtopk": BatchtopkSettings(architecture="batchtopk", features=M, k=3),
    "matryoshka": MatryoshkaSettings(architecture="matryoshka", features=M, k=3, prefixes=(4,)),
    "transcoder": TranscoderSettings(architecture="transcoder", features=M, k=3, skip=True),
}


def test_scaled_rows_have_mean_norm_root_d() -> None:
    rows = np.random.default_rng(0).standard_normal((500, D)).astype(np.float32) * 37
    scale = estimate_scale(rows)
    assert np.linalg.norm(scale * rows, axis=1).mean() == pytest.approx(np.sqrt(D), rel=1e-5)
    assert estimate_scale(np.zeros((4, D), np.float32)) == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_fold_gives_the_same_reconstruction_of_raw_activations(kind: str) -> None:
    rng = np.random.default_rng(1)
    architecture, settings = ARCHITECTURES[kind], KINDS[kind]
    x, target = jnp.asarray(rng.standard_normal((40, D)) * 9, jnp.float32), jnp.ones((40, D))
    p = architecture.initialise(jax.random.key(0), x, target, settings)
    p = {name: jnp.asarray(rng.standard_normal(array.shape), jnp.float32) for name, array in p.items()}
    if "threshold" in p:
        p["threshold"] = jnp.float32(0.4)
    scales = Scales(0.17, 2.5 if kind == "transcoder" else 0.17)
    scaled = x * scales.read
    trained = decode(p, architecture.encode(p, scaled, settings), scaled) / scales.write
    folded = fold(p, scales)
    codes = architecture.encode(folded, x, settings)
    np.testing.assert_allclose(decode(folded, codes, x), trained, rtol=1e-4, atol=1e-4)
    assert float(codes.min()) >= 0 and (np.asarray(codes) == 0).any()
    assert not {"scale", "log_threshold"} & set(folded)
    np.testing.assert_allclose(jnp.abs(folded["decoder"]), jnp.abs(p["decoder"]))


def test_scales_of_both_ends_are_their_own() -> None:
    rows = np.random.default_rng(0).standard_normal((300, D))
    scales = estimate_scales(jnp.asarray(rows, jnp.float32), jnp.asarray(rows * 10, jnp.float32))
    assert scales.read / scales.write == pytest.approx(10, rel=1e-5)


def test_rows_move_along_the_sphere() -> None:
    rng = np.random.default_rng(2)
    rows = unit_rows(jnp.asarray(rng.standard_normal((7, D)), jnp.float32))
    update = jnp.asarray(rng.standard_normal((7, D)) * 0.3, jnp.float32)
    moved = moved_on_sphere(rows, update)
    w, u = np.asarray(rows, np.float64), np.asarray(update, np.float64)
    plain = w + u - (u * w).sum(1, keepdims=True) * w
    np.testing.assert_allclose(moved, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=3e-6)
    for _ in range(200):
        moved = moved_on_sphere(moved, update)
    np.testing.assert_allclose(jnp.linalg.norm(moved, axis=1), np.ones(7), atol=1e-5)
    assert not bool(jnp.isnan(unit_rows(jnp.zeros((1, D)))).any())
    assert not bool(jnp.isnan(moved_on_sphere(jnp.zeros((1, D)), jnp.zeros((1, D)))).any())
