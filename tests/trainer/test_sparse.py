"""The sparse pass against autodiff of the dense formula, for every rule that a kind of dictionary uses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.architectures import codes as codes_of
from trainer.architectures import sparse
from trainer.architectures.sparse import Rule

BATCH, D, OUT, M, K = 64, 16, 12, 48, 4
Parameters = dict[str, jax.Array]
RULES = {
    "topk": Rule(K, auxiliary=0.5),
    "batchtopk": Rule(K, shared=True, auxiliary=0.5),
    "matryoshka": Rule(K, shared=True, auxiliary=0.5, prefixes=(6, 20)),
    "transcoder": Rule(K, shared=True, auxiliary=0.5, centred=False),
}
X = jax.random.normal(jax.random.key(9), (BATCH, D))
TARGET = jnp.tanh(X[:, :OUT]) + 0.1 * jax.random.normal(jax.random.key(8), (BATCH, OUT))
DEAD = {"none": jnp.zeros(M, bool), "many": jnp.arange(M) >= 30, "fewer than k_aux": jnp.arange(M) >= M - 3}
WITH_GRADIENT = jax.jit(jax.value_and_grad(sparse.sparse_loss, has_aux=True), static_argnums=4)


def _parameters(name: str) -> Parameters:
    keys = jax.random.split(jax.random.key(0), 5)
    out = OUT if name == "transcoder" else D
    found = {
        "encoder": jax.random.normal(keys[0], (M, D)) / D**0.5,
        "encoder_bias": jax.random.normal(keys[1], (M,)) * 0.1,
        "decoder": jax.random.normal(keys[2], (M, out)) / D**0.5,
        "decoder_bias": jax.random.normal(keys[3], (out,)) * 0.1,
    }
    if name == "transcoder":
        found["skip"] = jax.random.normal(keys[4], (OUT, D)) / D**0.5
    return found if name == "topk" else {**found, "threshold": jnp.float32(0.2)}


def _target(name: str) -> jax.Array:
    return TARGET if name == "transcoder" else X


def _kept(pre: jax.Array, rule: Rule) -> jax.Array:
    """Dense codes, by a bound that sorting gives: of each row, or of the whole batch."""
    positive = jax.nn.relu(pre)
    if rule.shared:
        in_row = jnp.sort(positive, axis=1)[:, -min(M, 4 * rule.k), None]
        among = jnp.where(positive >= in_row, positive, 0.0)
        return jnp.where(among >= jnp.sort(among.reshape(-1))[-rule.k * BATCH], among, 0.0)
    return jnp.where(pre >= jnp.sort(pre, axis=1)[:, -rule.k, None], positive, 0.0)


def _dense_loss(p: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, rule: Rule) -> jax.Array:
    pre = codes_of.preactivations(p, x, centred=rule.centred)  # another rounding could change who is kept
    codes, base = _kept(pre, rule), p["decoder_bias"][None, :]
    if "skip" in p:
        base = base + x @ p["skip"].T
    variance = jnp.square(target - target.mean(0, keepdims=True)).sum()
    ends = (*rule.prefixes, M)
    outs = [codes[:, :end] @ p["decoder"][:end] + base for end in ends]
    loss = sum((jnp.square(out - target).sum() for out in outs), start=jnp.float32(0)) / len(ends)
    k_aux = min(p["decoder"].shape[1] // 2, M)
    values, indices = jax.lax.top_k(jnp.where(dead[None, :], pre, -jnp.inf), k_aux)
    revived = jnp.zeros_like(pre).at[jnp.arange(BATCH)[:, None], indices].set(jax.nn.relu(values))
    share = jnp.minimum(dead.sum().astype(jnp.float32) / k_aux, 1)
    missed = jax.lax.stop_gradient(target - outs[-1])
    revival = rule.auxiliary * share * jnp.square(revived @ p["decoder"] - missed).sum()
    return (loss + revival) / variance


DENSE = jax.jit(jax.value_and_grad(_dense_loss), static_argnums=4)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dead", DEAD)
@pytest.mark.parametrize("backend", ["cpu", "tpu"])
def test_gradient_equals_autodiff(
    name: str, dead: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, target = _parameters(name), _target(name)
    expected, by_autodiff = DENSE(p, X, target, DEAD[dead], RULES[name])
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    found = jax.jit(jax.value_and_grad(sparse.sparse_loss, has_aux=True), static_argnums=4)
    (value, terms), gradient = found(p, X, target, DEAD[dead], RULES[name])
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert (float(terms.revival) > 0) is (dead != "none")
    for array in p:
        scale = float(jnp.abs(by_autodiff[array]).max())
        np.testing.assert_allclose(
            gradient[array], by_autodiff[array], atol=2e-6 * max(scale, 1), err_msg=array
        )


@pytest.mark.parametrize("name", RULES)
def test_terms_describe_the_codes(name: str) -> None:
    p, target, rule = _parameters(name), _target(name), RULES[name]
    _, terms = sparse.sparse_loss(p, X, target, DEAD["none"], rule)
    codes = np.asarray(_kept(codes_of.preactivations(p, X, centred=rule.centred), rule))
    np.testing.assert_array_equal(terms.active, (codes > 0).sum(0))
    assert float(terms.l0) == pytest.approx((codes > 0).sum(1).mean())
    base = np.asarray(p["decoder_bias"]) + (np.asarray(X @ p["skip"].T) if "skip" in p else 0)
    error = codes @ np.asarray(p["decoder"]) + base - np.asarray(target)
    assert float(terms.squared_error) == pytest.approx(float((error**2).sum()), rel=1e-5)
    if name == "topk":
        assert terms.estimates == {}
    else:
        expected = 0.99 * 0.2 + 0.01 * codes[codes > 0].min()
        assert float(terms.estimates["threshold"]) == pytest.approx(expected, rel=1e-5)


def test_first_threshold_is_taken_as_it_is() -> None:
    p, rule = _parameters("batchtopk") | {"threshold": jnp.float32(0)}, RULES["batchtopk"]
    _, terms = sparse.sparse_loss(p, X, X, DEAD["none"], rule)
    codes = np.asarray(_kept(codes_of.preactivations(p, X, centred=True), rule))
    assert float(terms.estimates["threshold"]) == pytest.approx(codes[codes > 0].min(), rel=1e-5)


def test_loss_outside_a_gradient_is_the_same() -> None:
    p = _parameters("topk")
    plain, _ = jax.jit(sparse.sparse_loss, static_argnums=4)(p, X, X, DEAD["many"], RULES["topk"])
    (value, _), _ = WITH_GRADIENT(p, X, X, DEAD["many"], RULES["topk"])
    assert float(plain) == pytest.approx(float(value), rel=1e-6)


def test_gradient_scales_with_the_cotangent() -> None:
    p, rule = _parameters("topk"), RULES["topk"]
    _, single = WITH_GRADIENT(p, X, X, DEAD["many"], rule)
    double = jax.jit(jax.grad(lambda q: 2 * sparse.sparse_loss(q, X, X, DEAD["many"], rule)[0]))(p)
    np.testing.assert_allclose(double["encoder"], 2 * single["encoder"], rtol=1e-6)


def test_auxiliary_gradient_reaches_the_encoder_of_dead_features() -> None:
    p, dead = _parameters("topk"), DEAD["many"]
    # out of the top k, yet above zero now and then
    p["encoder_bias"] = jnp.where(dead, -2.0, p["encoder_bias"])

    def encoder_gradient(weight: float) -> jax.Array:
        return WITH_GRADIENT(p, X, X, dead, Rule(K, auxiliary=weight))[1]["encoder"]

    silent = jnp.linalg.norm(encoder_gradient(0.0), axis=1)[30:]
    revived = jnp.linalg.norm(encoder_gradient(0.5), axis=1)[30:]
    assert int((silent == 0).sum()) > int((revived == 0).sum())
    assert float(revived.sum()) > 0


@pytest.mark.parametrize("batch", [7, 40])
def test_any_batch_size_is_swept_whole(batch: int) -> None:
    x = jnp.concatenate([X[:batch], X[:batch] + 1])
    p, rule = _parameters("topk"), RULES["topk"]
    codes = codes_of.dense(codes_of.strongest(codes_of.preactivations(p, x, centred=True), K), M)
    out = codes @ p["decoder"] + p["decoder_bias"][None, :]
    _, terms = sparse.sparse_loss(p, x, x, DEAD["none"], rule)
    assert float(terms.squared_error) == pytest.approx(float(jnp.square(out - x).sum()), rel=1e-5)


def test_shared_codes_are_k_a_row_on_average_and_uneven() -> None:
    pre = jnp.asarray(np.random.default_rng(0).standard_normal((32, M)) * np.linspace(0.2, 3, 32)[:, None])
    codes = codes_of.shared_strongest(pre.astype(jnp.float32), K)
    counts = np.asarray((codes.values > 0).sum(1))
    assert counts.sum() == 32 * K
    assert counts.min() < K < counts.max() <= 4 * K


def test_approximate_top_k_is_a_top_k() -> None:
    pre = codes_of.preactivations(_parameters("topk"), X, centred=True)
    exact, near = codes_of.strongest(pre, K), codes_of.strongest(pre, K, 0.95)
    pairs = zip(exact.indices.tolist(), near.indices.tolist(), strict=True)
    assert np.mean([len(set(each) & set(other)) / K for each, other in pairs]) >= 0.95
