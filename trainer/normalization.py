"""Input scale: estimated once on the first tokens, frozen, never trained, folded into the weights at save.

    a = √d / mean‖x‖                  training sees a·x, so that coefficients mean the same for every model
    pre(a·x) = a · pre'(x)            ReLU and TopK are positively homogeneous, so the fold is exact:
    encoder' = encoder                decoder rows stay unit norm, features get the units of the raw stream
    encoder_bias' = encoder_bias / a
    decoder' = decoder
    decoder_bias' = decoder_bias / a

A trained `scale` s (ReLU) is folded too: s·relu(w·x + b) = relu(|s|w·x + |s|b) with the sign of s moved to
the decoder.

Source: Anthropic's convention (mean norm √d); a scale that is trained drifts, because a loss relative to the
target's own norm can be lowered by scaling the target.
"""

import jax
import jax.numpy as jnp
import numpy as np

from trainer.parameters import Parameters


def estimate_scale(rows: jax.Array | np.ndarray) -> float:
    """a = √d / mean‖x‖ of raw activations (n, d), in float64. 1.0 when every row is zero."""
    exact = np.asarray(rows, dtype=np.float64)
    mean_norm = float(np.linalg.norm(exact, axis=1).mean())
    return float(np.sqrt(exact.shape[1]) / mean_norm) if mean_norm > 0 else 1.0


def fold(parameters: Parameters, scale: float) -> Parameters:
    """Parameters trained on scale·x as the equivalent four arrays for raw x. Features come out divided by
    `scale`."""
    factor = parameters.get("scale", jnp.ones_like(parameters["encoder_bias"]))
    size, sign = jnp.abs(factor), jnp.where(factor < 0, -1.0, 1.0)
    return {
        "encoder": parameters["encoder"] * size[:, None],
        "encoder_bias": parameters["encoder_bias"] * size / scale,
        "decoder": parameters["decoder"] * sign[:, None],
        "decoder_bias": parameters["decoder_bias"] / scale,
    }
