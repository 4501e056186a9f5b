"""What tests of every format share: random tensors, and the comparison with a plain reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from surgery.dictionary.dictionary import Dictionary, encode, reconstruct

D_MODEL, N_FEATURES = 6, 12
Draw = Callable[..., np.ndarray]
Reference = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def draw() -> Draw:
    """Random float32 tensors of a shape."""
    rng = np.random.default_rng(0)

    def make(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    return make


@pytest.fixture
def weights(draw: Draw) -> Mapping[str, np.ndarray]:
    """Rows of an encoder and a decoder, (m, d) both, and their biases."""
    return {
        "enc": draw(N_FEATURES, D_MODEL),
        "dec": draw(N_FEATURES, D_MODEL),
        "b_enc": draw(N_FEATURES, scale=0.5),
        "b_dec": draw(D_MODEL),
    }


@pytest.fixture
def agrees() -> Callable[[Dictionary, Reference], None]:
    """Hold a dictionary's codes and output to a reference's, in float64."""

    def check(dictionary: Dictionary, reference: Reference) -> None:
        x = 3.0 * np.random.default_rng(1).standard_normal((40, dictionary.d_in))
        codes, output = reference(x)
        assert 0.0 < np.count_nonzero(codes) / codes.size < 1.0, "a test that could not fail"
        np.testing.assert_allclose(encode(dictionary, x), codes, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(reconstruct(dictionary, x), output, rtol=1e-12, atol=1e-11)
        some = [3, 0, 7]
        np.testing.assert_allclose(encode(dictionary, x, features=some), codes[:, some], atol=1e-12)
        low = encode(dictionary, x.astype(np.float32))
        assert low.dtype == np.float32
        assert np.isclose(low, codes, atol=1e-4).mean() > 0.99

    return check
