"""The seed's loss, term by term, against a transcription in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.architectures import relu
from trainer.kinds import ReluSettings

BATCH, D, M = 12, 5, 9
SETTINGS = ReluSettings(architecture="relu", features=M, coefficient=0.01)


def _parameters(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"encoder": (M, D), "encoder_bias": (M,), "decoder": (M, D), "decoder_bias": (D,), "scale": (M,)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def _loss_in_numpy(
    p: dict[str, np.ndarray], x: np.ndarray, dead: np.ndarray, settings: ReluSettings
) -> float:
    p = {name: array.astype(np.float64) for name, array in p.items()}
    pre = x @ p["encoder"].T + p["encoder_bias"]
    active = np.maximum(pre, 0)
    out = (active * p["scale"]) @ p["decoder"] + p["decoder_bias"]
    spread = np.sqrt(((x - x.mean(0)) ** 2).sum(1, keepdims=True))
    error = (out - x) ** 2 / (spread + 1e-6)
    penalty = {
        "l1": active,
        "reciprocal": active / (active + settings.epsilon),
        "tanh": np.tanh(active),
        "sqrt": np.sqrt(active),
    }[settings.sparsity]
    ghost = np.where(dead, np.log1p(np.exp(pre)) * p["scale"], 0) @ p["decoder"]
    residual = x - out
    size = np.sqrt((residual**2).sum(1)) / (2 * np.sqrt((ghost**2).sum(1)) + 1e-10)
    square = (ghost * size[:, None] - residual) ** 2
    square = square * (error / (square + 1e-10))
    revival = settings.ghost * square.mean() * dead.mean()
    return float(error.mean() + settings.coefficient * penalty.sum(1).mean() + revival)


@pytest.mark.parametrize("kind", ["l1", "reciprocal", "tanh", "sqrt"])
@pytest.mark.parametrize("any_dead", [False, True])
def test_loss_equals_the_transcription(kind: str, any_dead: bool) -> None:
    settings = SETTINGS.model_copy(update={"sparsity": kind})
    p, x = _parameters(), np.random.default_rng(1).standard_normal((BATCH, D)).astype(np.float32)
    dead = (np.arange(M) < 4) & any_dead
    value, terms = relu.loss(
        jax.tree.map(jnp.asarray, p), jnp.asarray(x), jnp.asarray(x), jnp.asarray(dead), settings
    )
    assert float(value) == pytest.approx(_loss_in_numpy(p, x, dead, settings), rel=2e-5)
    pre = x @ p["encoder"].T + p["encoder_bias"]
    assert float(terms.l0) == pytest.approx((pre > 0).sum(1).mean())
    np.testing.assert_array_equal(terms.active, (pre > 0).sum(0))
    assert (float(terms.revival) > 0) is any_dead


@pytest.mark.parametrize("kind", ["l1", "reciprocal", "tanh", "sqrt"])
def test_gradient_by_hand_is_that_of_the_formula(kind: str) -> None:
    settings = SETTINGS.model_copy(update={"sparsity": kind, "coefficient": 0.3})
    p = jax.tree.map(jnp.asarray, _parameters())
    x = jnp.asarray(np.random.default_rng(1).standard_normal((BATCH, D)), jnp.float32)

    def formula(q: dict[str, jax.Array]) -> jax.Array:
        positive = jax.nn.relu(relu.preactivations(q, x))
        output = (positive * q["scale"][None, :]) @ q["decoder"] + q["decoder_bias"][None, :]
        penalty = relu.sparsity_penalty(positive, kind, settings.epsilon).sum(1).mean()
        return relu.reconstruction_error(output, x).mean() + settings.coefficient * penalty

    found = jax.jit(jax.grad(lambda q: relu.loss(q, x, x, jnp.zeros(M, bool), settings)[0]))(p)
    for name, expected in jax.jit(jax.grad(formula))(p).items():
        np.testing.assert_allclose(found[name], expected, rtol=2e-4, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("kind", ["l1", "reciprocal", "tanh", "sqrt"])
def test_gradient_is_finite_where_nothing_is_active(kind: str) -> None:
    settings = SETTINGS.model_copy(update={"sparsity": kind})
    p = jax.tree.map(jnp.asarray, _parameters()) | {"encoder_bias": jnp.full(M, -1e3)}
    x = jnp.ones((BATCH, D))
    gradient = jax.jit(jax.grad(lambda q: relu.loss(q, x, x, jnp.ones(M, bool), settings)[0]))(p)
    assert all(bool(jnp.isfinite(array).all()) for array in gradient.values())


def test_ghost_gradient_reaches_dead_features_only() -> None:
    p = jax.tree.map(jnp.asarray, _parameters())
    p["encoder_bias"] = p["encoder_bias"].at[:4].set(-8.0)  # silent, but within reach of softplus
    x = jnp.asarray(np.random.default_rng(1).standard_normal((BATCH, D)), jnp.float32)
    settings, dead = SETTINGS.model_copy(update={"coefficient": 0.0}), jnp.arange(M) < 4

    def gradient(ghost: float) -> jax.Array:
        own = settings.model_copy(update={"ghost": ghost})
        return jax.jit(jax.grad(lambda q: relu.loss(q, x, x, dead, own)[0]))(p)["encoder"]

    without, with_ghost = gradient(0.0), gradient(0.25)
    assert float(jnp.abs(without[:4]).max()) == 0
    assert float(jnp.linalg.norm(with_ghost[:4], axis=1).min()) > 0
    np.testing.assert_allclose(with_ghost[4:], without[4:], atol=1e-7)


def test_start_is_the_seeds() -> None:
    sample = jnp.ones((3, D)) * 7
    p = relu.initialise(jax.random.key(0), sample, sample, SETTINGS)
    np.testing.assert_allclose(p["encoder"].T @ p["encoder"], np.eye(D), atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(p["decoder"], axis=1), np.ones(M), atol=1e-4)
    cosine = (p["encoder"] * p["decoder"]).sum(1) / jnp.linalg.norm(p["encoder"], axis=1)
    np.testing.assert_allclose(cosine, np.ones(M), atol=1e-4)
    assert not p["decoder_bias"].any() and not p["encoder_bias"].any()
    np.testing.assert_array_equal(p["scale"], np.ones(M))
