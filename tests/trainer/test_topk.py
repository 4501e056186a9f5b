"""TopK: its codes, its start, and that its loss is the sparse pass with its own numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainer.architectures import topk
from trainer.architectures.sparse import Rule, sparse_loss
from trainer.kinds import TopkSettings

BATCH, D, M, K = 64, 16, 48, 4
SETTINGS = TopkSettings(architecture="topk", features=M, k=K, auxiliary=0.5)
X = jax.random.normal(jax.random.key(9), (BATCH, D))


def _parameters() -> dict[str, jax.Array]:
    keys = jax.random.split(jax.random.key(0), 4)
    return {
        "encoder": jax.random.normal(keys[0], (M, D)) / D**0.5,
        "encoder_bias": jax.random.normal(keys[1], (M,)) * 0.1,
        "decoder": jax.random.normal(keys[2], (M, D)) / D**0.5,
        "decoder_bias": jax.random.normal(keys[3], (D,)) * 0.1,
    }


def test_codes_are_the_k_largest_preactivations() -> None:
    p = {name: np.asarray(array, np.float64) for name, array in _parameters().items()}
    x = np.asarray(X, np.float64)
    pre = (x - p["decoder_bias"]) @ p["encoder"].T + p["encoder_bias"]
    bound = np.sort(pre, axis=1)[:, -K][:, None]
    expected = np.where(pre >= bound, np.maximum(pre, 0), 0)
    np.testing.assert_allclose(topk.encode(_parameters(), X, SETTINGS), expected, atol=1e-5)


@pytest.mark.parametrize("recall", [None, 0.9])
def test_loss_is_the_sparse_pass(recall: float | None) -> None:
    dead, settings = jnp.arange(M) > 30, SETTINGS.model_copy(update={"recall": recall})
    value, _ = topk.loss(_parameters(), X, X, dead, settings)
    expected, _ = sparse_loss(_parameters(), X, X, dead, Rule(K, recall=recall, auxiliary=0.5))
    assert float(value) == float(expected)


def test_start_copies_unit_decoder_rows_and_takes_the_mean() -> None:
    p = topk.initialise(jax.random.key(3), X, X, SETTINGS)
    np.testing.assert_array_equal(p["encoder"], p["decoder"])
    np.testing.assert_allclose(jnp.linalg.norm(p["decoder"], axis=1), np.ones(M), atol=1e-5)
    np.testing.assert_allclose(p["decoder_bias"], X.mean(0), atol=1e-6)
