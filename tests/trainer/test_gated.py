"""Gated: the loss against a transcription in numpy, and what the second reconstruction may change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.architectures import gated
from trainer.kinds import GatedSettings

BATCH, D, M = 12, 5, 9
SETTINGS = GatedSettings(architecture="gated", features=M, coefficient=0.01)
X = np.random.default_rng(1).standard_normal((BATCH, D)).astype(np.float32)


def _parameters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {
        "encoder": (M, D), "gate_bias": (M,), "magnitude_bias": (M,), "log_magnitude": (M,),
        "decoder": (M, D), "decoder_bias": (D,),
    }  # fmt: skip
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def _loss_in_numpy(p: dict[str, np.ndarray], dead: np.ndarray) -> tuple[float, np.ndarray]:
    p = {name: array.astype(np.float64) for name, array in p.items()}
    gate = X @ p["encoder"].T + p["gate_bias"]
    size = X @ (p["encoder"] * np.exp(p["log_magnitude"])[:, None]).T + p["magnitude_bias"]
    codes = (gate > 0) * np.maximum(size, 0)
    spread = np.sqrt(((X - X.mean(0)) ** 2).sum(1, keepdims=True)) + 1e-6

    def error(out: np.ndarray) -> np.ndarray:
        return (out - X) ** 2 / spread

    out = codes @ p["decoder"] + p["decoder_bias"]
    through_gate = np.maximum(gate, 0) @ p["decoder"] + p["decoder_bias"]
    value = error(out).mean() + error(through_gate).mean()
    value += 2 * SETTINGS.coefficient * np.maximum(gate, 0).sum(1).mean()
    ghost, residual = np.where(dead, np.log1p(np.exp(gate)), 0) @ p["decoder"], X - out
    length = np.sqrt((residual**2).sum(1)) / (2 * np.sqrt((ghost**2).sum(1)) + 1e-10)
    square = (ghost * length[:, None] - residual) ** 2
    value += SETTINGS.ghost * (square * (error(out) / (square + 1e-10))).mean() * dead.mean()
    return float(value), codes


@pytest.mark.parametrize("any_dead", [False, True])
def test_loss_and_codes_equal_the_transcription(any_dead: bool) -> None:
    dead, p, x = (np.arange(M) < 4) & any_dead, jax.tree.map(jnp.asarray, _parameters()), jnp.asarray(X)
    value, terms = gated.loss(p, x, x, jnp.asarray(dead), SETTINGS)
    expected, codes = _loss_in_numpy(_parameters(), dead)
    assert float(value) == pytest.approx(expected, rel=2e-5)
    np.testing.assert_allclose(gated.encode(p, x, SETTINGS), codes, atol=1e-5)
    assert float(terms.l0) == pytest.approx((codes > 0).sum(1).mean())
    np.testing.assert_array_equal(terms.active, (codes > 0).sum(0))
    assert (float(terms.revival) > 0) is any_dead


def test_second_reconstruction_does_not_touch_the_decoder() -> None:
    p, x = jax.tree.map(jnp.asarray, _parameters()), jnp.asarray(X)
    p["magnitude_bias"] = jnp.full(M, -1e3)  # no code is active: only the gate's own terms are left
    no_price = SETTINGS.model_copy(update={"coefficient": 0.0})
    gradient = jax.grad(lambda q: gated.loss(q, x, x, jnp.zeros(M, bool), no_price)[0])(p)
    assert float(jnp.abs(gradient["decoder"]).max()) == 0
    assert float(jnp.abs(gradient["gate_bias"]).max()) > 0


def test_ghost_gradient_reaches_dead_gates_only() -> None:
    p, x, dead = jax.tree.map(jnp.asarray, _parameters()), jnp.asarray(X), jnp.arange(M) < 4
    p["gate_bias"] = p["gate_bias"].at[:4].set(-8.0)  # closed, but within reach of softplus

    def gradient(ghost: float) -> jax.Array:
        settings = SETTINGS.model_copy(update={"coefficient": 0.0, "ghost": ghost})
        return jax.grad(lambda q: gated.loss(q, x, x, dead, settings)[0])(p)["encoder"]

    assert float(jnp.abs(gradient(0.0)[:4]).max()) == 0
    assert float(jnp.linalg.norm(gradient(0.25)[:4], axis=1).min()) > 0
    np.testing.assert_allclose(gradient(0.25)[4:], gradient(0.0)[4:], atol=1e-6)
