"""TopK: the sparse pass against autodiff of the same formula, and AuxK's way to the encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.architectures import topk
from trainer.config import TopkSettings

BATCH, D, M, K = 64, 16, 48, 4
SETTINGS = TopkSettings(architecture="topk", features=M, k=K, auxiliary=0.5)
Parameters = dict[str, jax.Array]


def _parameters() -> Parameters:
    keys = jax.random.split(jax.random.key(0), 4)
    return {
        "encoder": jax.random.normal(keys[0], (M, D)) / D**0.5,
        "encoder_bias": jax.random.normal(keys[1], (M,)) * 0.1,
        "decoder": jax.random.normal(keys[2], (M, D)) / D**0.5,
        "decoder_bias": jax.random.normal(keys[3], (D,)) * 0.1,
    }


X = jax.random.normal(jax.random.key(9), (BATCH, D))
LOSS = jax.jit(topk.loss, static_argnums=3)
WITH_GRADIENT = jax.jit(jax.value_and_grad(topk.loss, has_aux=True), static_argnums=3)
ENCODE = jax.jit(topk.encode, static_argnums=2)
ALIVE, DEAD = jnp.zeros(M, bool), jnp.arange(M) >= 30


def _dense_loss(p: Parameters, x: jax.Array, dead: jax.Array, settings: TopkSettings) -> jax.Array:
    pre = topk.preactivations(p, x)  # one formula for both: another rounding could change who is in the top k
    values, indices = jax.lax.top_k(pre, settings.k)
    codes = jnp.zeros_like(pre).at[jnp.arange(BATCH)[:, None], indices].set(jax.nn.relu(values))
    out = codes @ p["decoder"] + p["decoder_bias"][None, :]
    variance = jnp.square(x - x.mean(0, keepdims=True)).sum()
    loss = jnp.square(out - x).sum() / variance
    k_aux = min(D // 2, M)
    values, indices = jax.lax.top_k(jnp.where(dead[None, :], pre, -jnp.inf), k_aux)
    codes = jnp.zeros_like(pre).at[jnp.arange(BATCH)[:, None], indices].set(jax.nn.relu(values))
    residual = jax.lax.stop_gradient(x - out)
    share = jnp.minimum(dead.sum().astype(jnp.float32) / k_aux, 1)
    return loss + settings.auxiliary * share * jnp.square(codes @ p["decoder"] - residual).sum() / variance


@pytest.mark.parametrize(
    "dead", [ALIVE, DEAD, jnp.arange(M) >= M - 3], ids=["none", "many", "fewer than k_aux"]
)
def test_gradient_equals_autodiff(dead: jax.Array) -> None:
    p = _parameters()
    expected, by_autodiff = jax.jit(jax.value_and_grad(_dense_loss), static_argnums=3)(p, X, dead, SETTINGS)
    (value, terms), gradient = WITH_GRADIENT(p, X, dead, SETTINGS)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    for name in p:
        scale = float(jnp.abs(by_autodiff[name]).max())
        np.testing.assert_allclose(gradient[name], by_autodiff[name], atol=2e-6 * max(scale, 1), err_msg=name)
    assert float(terms.l0) <= K


def test_loss_outside_a_gradient_is_the_same() -> None:
    p = _parameters()
    plain, _ = LOSS(p, X, DEAD, SETTINGS)
    (value, _), _ = WITH_GRADIENT(p, X, DEAD, SETTINGS)
    assert float(plain) == pytest.approx(float(value), rel=1e-6)


def test_gradient_scales_with_the_cotangent() -> None:
    p = _parameters()
    _, single = WITH_GRADIENT(p, X, DEAD, SETTINGS)
    double = jax.jit(jax.grad(lambda q: 2 * topk.loss(q, X, DEAD, SETTINGS)[0]))(p)
    np.testing.assert_allclose(double["encoder"], 2 * single["encoder"], rtol=1e-6)


def test_auxiliary_gradient_reaches_the_encoder_of_dead_features() -> None:
    p = _parameters()
    p["encoder_bias"] = jnp.where(
        DEAD, -2.0, p["encoder_bias"]
    )  # out of the top k, yet above zero now and then

    def encoder_gradient(weight: float) -> jax.Array:
        settings = SETTINGS.model_copy(update={"auxiliary": weight})
        return WITH_GRADIENT(p, X, DEAD, settings)[1]["encoder"]

    silent = jnp.linalg.norm(encoder_gradient(0.0), axis=1)[30:]
    revived = jnp.linalg.norm(encoder_gradient(0.5), axis=1)[30:]
    assert int((silent == 0).sum()) > int((revived == 0).sum())
    assert float(revived.sum()) > 0


def test_codes_are_the_k_largest_preactivations() -> None:
    p = {name: np.asarray(array, np.float64) for name, array in _parameters().items()}
    x = np.asarray(X, np.float64)
    pre = (x - p["decoder_bias"]) @ p["encoder"].T + p["encoder_bias"]
    bound = np.sort(pre, axis=1)[:, -K][:, None]
    expected = np.where(pre >= bound, np.maximum(pre, 0), 0)
    np.testing.assert_allclose(ENCODE(_parameters(), X, SETTINGS), expected, atol=1e-5)


def test_fired_and_l0_count_active_features() -> None:
    _, terms = LOSS(_parameters(), X, ALIVE, SETTINGS)
    codes = np.asarray(ENCODE(_parameters(), X, SETTINGS))
    np.testing.assert_array_equal(terms.fired, (codes > 0).any(0))
    assert float(terms.l0) == pytest.approx((codes > 0).sum(1).mean())


@pytest.mark.parametrize("batch", [7, 40])
def test_any_batch_size_is_swept_whole(batch: int) -> None:
    x = jnp.concatenate([X[:batch], X[:batch] + 1])
    p = _parameters()
    out = ENCODE(p, x, SETTINGS) @ p["decoder"] + p["decoder_bias"][None, :]
    _, terms = LOSS(p, x, ALIVE, SETTINGS)
    assert float(terms.squared_error) == pytest.approx(float(jnp.square(out - x).sum()), rel=1e-5)


def test_start_copies_unit_decoder_rows_and_takes_the_mean() -> None:
    p = topk.initialise(jax.random.key(3), X, SETTINGS)
    np.testing.assert_array_equal(p["encoder"], p["decoder"])
    np.testing.assert_allclose(jnp.linalg.norm(p["decoder"], axis=1), np.ones(M), atol=1e-5)
    np.testing.assert_allclose(p["decoder_bias"], X.mean(0), atol=1e-6)
