"""Scales of input and output: estimated once on the first tokens, frozen, never trained, folded at save.

    a = √d / mean‖x‖                  training sees a·x, so that coefficients mean the same for every model
    c = √d' / mean‖t‖                 and reconstructs c·t; c = a but for a transcoder
    π(a·x) = c · π'(x)                every kind here is positively homogeneous, so the fold is exact:
    encoder' = encoder · a/c          decoder rows stay unit norm, features get the units of the output
    biases' = biases / c              of encoder, gate, magnitude and decoder; the threshold too
    decoder' = decoder
    skip' = skip · a/c

A trained `scale` s (ReLU) is folded too: s·relu(w·x + b) = relu(|s|w·x + |s|b) with the sign of s moved to
the decoder.

Source: Anthropic's convention (mean norm √d); a scale that is trained drifts, because a loss relative to the
target's own norm can be lowered by scaling the target.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from trainer.parameters import Parameters


def estimate_scale(rows: jax.Array | np.ndarray) -> float:
    """a = √d / mean‖x‖ of raw activations (n, d), in float64. 1.0 when every row is zero."""
    exact = np.asarray(rows, dtype=np.float64)
    mean_norm = float(np.linalg.norm(exact, axis=1).mean())
    return float(np.sqrt(exact.shape[1]) / mean_norm) if mean_norm > 0 else 1.0


class Scales(NamedTuple):
    """Factors that training puts on what a dictionary reads and on what it must write."""

    read: float
    write: float


def estimate_scales(read: jax.Array, write: jax.Array) -> Scales:
    """Scales of raw activations (n, d_in) and targets (n, d_out)."""
    return Scales(estimate_scale(read), estimate_scale(write))


def fold(parameters: Parameters, scales: Scales) -> Parameters:
    """Parameters trained on scaled activations as the equivalent ones for raw x. Features come out divided by
    `scales.write`."""
    folded: Parameters = {
        name: parameters[name] for name in ("decoder", "log_magnitude") if name in parameters
    }
    ratio = scales.read / scales.write
    for name in ("encoder", "skip"):
        if name in parameters:
            folded[name] = parameters[name] * ratio
    for name in ("encoder_bias", "gate_bias", "magnitude_bias", "decoder_bias", "threshold"):
        if name in parameters:
            folded[name] = parameters[name] / scales.write
    if "log_threshold" in parameters:
        folded["threshold"] = jnp.exp(parameters["log_threshold"]) / scales.write
    return _fold_factor(folded, parameters["scale"]) if "scale" in parameters else folded


def _fold_factor(folded: Parameters, factor: jax.Array) -> Parameters:
    size, sign = jnp.abs(factor), jnp.where(factor < 0, -1.0, 1.0)
    return {
        **folded,
        "encoder": folded["encoder"] * size[:, None],
        "encoder_bias": folded["encoder_bias"] * size,
        "decoder": folded["decoder"] * sign[:, None],
    }
