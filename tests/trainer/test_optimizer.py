"""Adam, with and without momentum, against plain formulas and optax, and the schedule's shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.optimizer import clip_by_global_norm, initial_moments, learning_rate, scale_by_moments

PARAMETERS = {"a": jnp.zeros((3, 4)), "b": jnp.zeros(5)}


def _gradients(step: int) -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(step))
    return {"a": jax.random.normal(keys[0], (3, 4)), "b": jax.random.normal(keys[1], (5,)) * 1e-3}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_adam(momentum: float) -> None:
    moments = initial_moments(PARAMETERS, momentum)
    first, second = ({name: np.zeros(p.shape) for name, p in PARAMETERS.items()} for _ in range(2))
    for step in range(1, 30):
        gradients = _gradients(step)
        scaled, moments = scale_by_moments(gradients, moments, decay=0.99, momentum=momentum)
        for name, gradient in gradients.items():
            g = np.asarray(gradient, np.float64)
            second[name] = 0.99 * second[name] + 0.01 * g**2
            first[name] = momentum * first[name] + (1 - momentum) * g
            mean = first[name] / (1 - momentum**step)
            adam = mean / (np.sqrt(second[name] / (1 - 0.99**step)) + 1e-8)
            np.testing.assert_allclose(scaled[name], adam, rtol=2e-4, atol=1e-6)
    assert int(moments.updates) == 29


def test_no_first_moment_is_held_without_momentum() -> None:
    assert initial_moments(PARAMETERS).first == {}
    assert set(initial_moments(PARAMETERS, momentum=0.9).first) == set(PARAMETERS)


@pytest.mark.parametrize("peer", ["scale_by_rms", "adam", "adam 0.9"])
def test_equals_optax(peer: str) -> None:
    momentum = 0.9 if peer == "adam 0.9" else 0.0
    optax = pytest.importorskip("optax", reason="optax is not installed; it is no dependency")
    with jax.numpy_dtype_promotion("standard"):  # optax itself is not strict
        transform = (
            optax.scale_by_adam(b1=momentum, b2=0.99, eps=1e-8)
            if peer.startswith("adam")
            else optax.scale_by_rms(decay=0.99, eps=1e-8, eps_in_sqrt=False, bias_correction=True)
        )
        theirs, moments = transform.init(PARAMETERS), initial_moments(PARAMETERS, momentum)
        for step in range(20):
            gradients = _gradients(step)
            expected, theirs = transform.update(gradients, theirs)
            scaled, moments = scale_by_moments(gradients, moments, decay=0.99, momentum=momentum)
            for name in gradients:
                np.testing.assert_allclose(scaled[name], expected[name], rtol=2e-5)


def test_clip_keeps_short_gradients_and_shortens_long_ones() -> None:
    gradients = {"a": jnp.full((2, 2), 2.0), "b": jnp.full(1, 3.0)}  # joint norm 5
    np.testing.assert_allclose(clip_by_global_norm(gradients, 1.0)["a"], np.full((2, 2), 0.4), rtol=1e-6)
    np.testing.assert_allclose(clip_by_global_norm(gradients, 10.0)["b"], np.full(1, 3.0), rtol=1e-6)


def test_clip_of_zero_is_zero() -> None:
    assert float(clip_by_global_norm({"a": jnp.zeros(3)}, 1.0)["a"].sum()) == 0


def test_rate_rises_stays_and_falls_over_the_last_fifth() -> None:
    rates = [float(learning_rate(jnp.int32(t), 2.0, 10, 100)) for t in range(1, 101)]
    np.testing.assert_allclose(rates[:10], 2.0 * np.arange(1, 11) / 10, rtol=1e-6)
    assert set(rates[10:81]) == {2.0}
    np.testing.assert_allclose(rates[80:], 2.0 * np.arange(20, 0, -1) / 20, rtol=1e-6)


def test_rate_without_warmup_starts_at_the_peak() -> None:
    assert float(learning_rate(jnp.int32(1), 3.0, 0, 50)) == 3.0
