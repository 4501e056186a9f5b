"""The input scale and its exact fold."""

import jax.numpy as jnp
import numpy as np
import pytest

from trainer.architectures import ARCHITECTURES
from trainer.kinds import DictionarySettings, ReluSettings, TopkSettings
from trainer.normalization import estimate_scale, fold
from trainer.parameters import decode, unit_rows

D, M = 6, 10
RELU = ReluSettings(architecture="relu", features=M, coefficient=0.1)
TOPK = TopkSettings(architecture="topk", features=M, k=3)


def test_scaled_rows_have_mean_norm_root_d() -> None:
    rows = np.random.default_rng(0).standard_normal((500, D)).astype(np.float32) * 37
    scale = estimate_scale(rows)
    assert np.linalg.norm(scale * rows, axis=1).mean() == pytest.approx(np.sqrt(D), rel=1e-5)
    assert estimate_scale(np.zeros((4, D), np.float32)) == 1.0


@pytest.mark.parametrize("settings", [RELU, TOPK])
def test_fold_gives_the_same_reconstruction_of_raw_activations(settings: DictionarySettings) -> None:
    rng = np.random.default_rng(1)
    shapes = {"encoder": (M, D), "encoder_bias": (M,), "decoder": (M, D), "decoder_bias": (D,)}
    p = {name: jnp.asarray(rng.standard_normal(shape), jnp.float32) for name, shape in shapes.items()}
    if settings.architecture == "relu":
        p["scale"] = jnp.asarray(rng.standard_normal(M), jnp.float32)  # of either sign
    x, scale = jnp.asarray(rng.standard_normal((40, D)) * 9, jnp.float32), 0.17
    encode = ARCHITECTURES[settings.architecture].encode
    trained = decode(p, encode(p, x * scale, settings)) / scale
    folded = fold(p, scale)
    assert set(folded) == set(shapes)
    codes = encode(folded, x, settings)
    np.testing.assert_allclose(decode(folded, codes), trained, rtol=1e-4, atol=1e-4)
    assert float(codes.min()) >= 0
    np.testing.assert_allclose(jnp.abs(folded["decoder"]), jnp.abs(p["decoder"]))


def test_rows_stay_on_the_sphere() -> None:
    rng = np.random.default_rng(2)
    rows = unit_rows(jnp.asarray(rng.standard_normal((7, D)), jnp.float32))
    update = off_rows(jnp.asarray(rng.standard_normal((7, D)), jnp.float32), rows)
    np.testing.assert_allclose((update * rows).sum(1), np.zeros(7), atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(rows, axis=1), np.ones(7), atol=1e-5)
    assert not bool(jnp.isnan(unit_rows(jnp.zeros((1, D)))).any())
