"""JumpReLU: the loss and its straight-through gradients against a transcription in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.architectures import jumprelu
from trainer.kinds import JumpreluSettings

BATCH, D, M, WIDTH = 30, 5, 9, 0.4
SETTINGS = JumpreluSettings(
    architecture="jumprelu", features=M, coefficient=0.3, bandwidth=WIDTH, preactivation=0.1
)
KINDS = {
    "step": SETTINGS,
    "tanh": SETTINGS.model_copy(update={"sparsity": "tanh"}),
    "target_l0": SETTINGS.model_copy(update={"sparsity": "target_l0", "target_l0": 2.0}),
}
DEAD = np.arange(M) < 3


def _parameters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"encoder": (M, D), "encoder_bias": (M,), "decoder": (M, D), "decoder_bias": (D,)}
    p = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return {**p, "log_threshold": np.log(rng.uniform(0.1, 0.6, M)).astype(np.float32)}


X = np.random.default_rng(1).standard_normal((BATCH, D)).astype(np.float32)


def _by_hand(p: dict[str, np.ndarray], settings: JumpreluSettings) -> tuple[float, np.ndarray, np.ndarray]:
    """L, dL/dlog θ and dL/dbᵉ, each written out."""
    p = {name: array.astype(np.float64) for name, array in p.items()}
    theta, pre = np.exp(p["log_threshold"]), X @ p["encoder"].T + p["encoder_bias"]
    on = pre > theta
    h = np.where(on, pre, 0)
    error = h @ p["decoder"] + p["decoder_bias"] - X
    near = np.abs(pre - theta) < settings.bandwidth / 2
    at_h = 2 * error @ p["decoder"].T / BATCH  # dL/dh of the error
    at_step = np.zeros(M)  # dL/d[π > θ]
    if settings.sparsity == "tanh":
        penalty = np.tanh(4 * h).sum(1).mean()
        at_h = at_h + settings.coefficient * 4 * (1 - np.tanh(4 * h) ** 2) / BATCH
    elif settings.sparsity == "step":
        penalty = on.sum(1).mean()
        at_step = at_step + settings.coefficient / BATCH
    else:
        penalty = (on.sum(1).mean() / 2.0 - 1) ** 2
        at_step = at_step + settings.coefficient * 2 * (on.sum(1).mean() / 2.0 - 1) / 2.0 / BATCH
    lack = np.where(DEAD, np.maximum(theta - pre, 0), 0)
    weight = settings.preactivation / BATCH
    value = (error**2).sum() / BATCH + settings.coefficient * penalty + weight * lack.sum()
    at_theta = (-theta / settings.bandwidth * near * at_h - near * at_step / settings.bandwidth).sum(0)
    at_theta = at_theta + weight * (lack > 0).sum(0)
    return float(value), at_theta * theta, (np.where(on, at_h, 0) - weight * (lack > 0)).sum(0)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_equal_the_transcription(kind: str) -> None:
    p, x = jax.tree.map(jnp.asarray, _parameters()), jnp.asarray(X)
    value_and_grad = jax.jit(jax.value_and_grad(jumprelu.loss, has_aux=True), static_argnums=4)
    (value, terms), gradient = value_and_grad(p, x, x, jnp.asarray(DEAD), KINDS[kind])
    expected, at_log_threshold, at_bias = _by_hand(_parameters(), KINDS[kind])
    assert float(value) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(gradient["log_threshold"], at_log_threshold, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient["encoder_bias"], at_bias, rtol=1e-4, atol=1e-5)
    codes = np.asarray(jumprelu.encode(p, x, SETTINGS))
    assert float(terms.l0) == pytest.approx((codes > 0).sum(1).mean())
    np.testing.assert_array_equal(terms.active, (codes > 0).sum(0))


def test_dead_features_are_lifted_and_others_are_not() -> None:
    p = jax.tree.map(jnp.asarray, _parameters() | {"encoder_bias": np.full(M, -9, np.float32)})
    gradient = jax.grad(
        lambda q: jumprelu.loss(q, jnp.asarray(X), jnp.asarray(X), jnp.asarray(DEAD), SETTINGS)[0]
    )
    slope = np.asarray(gradient(p)["encoder_bias"])
    assert (slope[DEAD] < 0).all() and (slope[~DEAD] == 0).all()


def test_a_negative_or_missing_threshold_is_zero() -> None:
    pre = jnp.array([[-1.0, 0.5, 2.0]])
    np.testing.assert_array_equal(jumprelu.above(pre, jnp.float32(-3)), [[0, 0.5, 2]])
    np.testing.assert_array_equal(jumprelu.above(pre, jnp.array([0.0, 1.0, 1.0])), [[0, 0, 2]])


def test_start_has_the_threshold_of_the_settings() -> None:
    sample = jnp.asarray(X)
    p = jumprelu.initialise(jax.random.key(0), sample, sample, SETTINGS)
    np.testing.assert_allclose(jnp.exp(p["log_threshold"]), np.full(M, SETTINGS.threshold), rtol=1e-5)
    np.testing.assert_array_equal(p["encoder"], p["decoder"])
