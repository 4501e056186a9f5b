"""Frequencies of the rotary embedding, and how a config stretches them over longer texts.

    f_i = θ^(−2i/w) for i < w/2, turned by f_i · position, cosine and sine times `scale`

    linear    f / s
    llama3    f / s for long waves, f for short ones, between them interpolated by the turns in the old length
    yarn      (1 − r_i) f + r_i f / s, r a ramp over i from the wave that turns 32 times in the old length L
              to the one that turns once; scale 0.1 ln s + 1
    longrope  f / short_i, and f / long_i once a text is longer than L; scale √(1 + ln s / ln L)

w is the part of a head that is turned, s the factor. Sources: Peng et al. 2023 (YaRN), Ding et al. 2024
(LongRoPE). Everything else is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surgery.errors import SourceError

Entries = dict[str, Any]
KNOWN = ("default", "linear", "llama3", "longrope", "yarn")


@dataclass(frozen=True)
class Rotary:
    """One frequency a pair of dimensions; static in compiled code."""

    frequencies: tuple[float, ...]
    scale: float = 1.0  # of cosine and sine
    long: tuple[float, ...] | None = None  # frequencies of a batch with a text longer than `original`
    original: int = 0


def turns(rotary: Rotary, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines (batch, position, pairs) float32 of positions (batch, position)."""
    frequencies = jnp.asarray(np.array(rotary.frequencies, np.float32))
    if rotary.long is not None:
        long = jnp.asarray(np.array(rotary.long, np.float32))
        frequencies = jnp.where(positions.max() >= rotary.original, long, frequencies)
    angles = positions.astype(jnp.float32)[:, :, None] * frequencies[None, None, :]
    return jnp.cos(angles) * rotary.scale, jnp.sin(angles) * rotary.scale


def read_rotaries(config: Entries, head_dim: int, place: str) -> tuple[Rotary, Rotary]:
    """Those of layers without a window and with one, from a whole config.json.

    Raises: SourceError on a kind that is not known here; KeyError where a number of it is missing.
    """
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = config.get("rope_theta", 10_000.0)
    if config["model_type"] == "gemma3_text":
        local = {"rope_theta": config.get("rope_local_base_freq", 10_000.0)}
        full = rope.get("full_attention", {"rope_theta": config.get("rope_theta", 1_000_000.0), **rope})
        pair = full, rope.get("sliding_attention", local)
    else:
        pair = rope, rope
    share = config.get("partial_rotary_factor") or rope.get("partial_rotary_factor") or 1.0
    width = int(head_dim * share)
    first, second = (_rotary({"rope_theta": base, **each}, width, config, place) for each in pair)
    return first, second


def _rotary(rope: Entries, width: int, config: Entries, place: str) -> Rotary:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if config["model_type"] == "phi3" and kind in ("su", "yarn"):
        kind = "longrope"  # what phi3's early files called it
    plain = [float(rope["rope_theta"]) ** (-pair / width) for pair in range(0, width, 2)]
    if kind == "default":
        return Rotary(tuple(plain))
    if kind == "linear":
        return Rotary(tuple(each / rope["factor"] for each in plain))
    if kind not in KNOWN:
        raise SourceError(
            f"{place}: rotary embedding {kind!r} is not supported by model.decoder: jax (known:"
            f" {', '.join(KNOWN)}); use transformers"
        )
    named = config.get("original_max_position_embeddings") or rope.get("original_max_position_embeddings")
    original = int(named or config["max_position_embeddings"])
    if kind == "llama3":
        return Rotary(tuple(_llama3(each, rope, original) for each in plain))
    factor = rope.get("factor") or config["max_position_embeddings"] / original
    return (
        _yarn(plain, rope, factor, original) if kind == "yarn" else _longrope(plain, rope, factor, original)
    )


def _llama3(frequency: float, rope: Entries, original: int) -> float:
    """Frequencies of long waves divided by the factor, of short ones kept, those between interpolated."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = _ramp(original * frequency / (2 * math.pi), low, high)
    scaled: float = (1 - kept) * frequency / rope["factor"] + kept * frequency
    return scaled


def _yarn(plain: Sequence[float], rope: Entries, factor: float, original: int) -> Rotary:
    width, base = 2 * len(plain), float(rope["rope_theta"])

    def place(rounds: float) -> float:
        """Of the pair that turns so often in the old length."""
        return width * math.log(original / (rounds * 2 * math.pi)) / (2 * math.log(base))

    low, high = place(rope.get("beta_fast") or 32), place(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    shares = [_ramp(pair, low, high if high != low else high + 0.001) for pair in range(len(plain))]
    stretched = [
        (1 - share) * each + share * each / factor for each, share in zip(plain, shares, strict=True)
    ]
    return Rotary(tuple(stretched), _yarn_scale(rope, factor))


def _yarn_scale(rope: Entries, factor: float) -> float:
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])

    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if rope.get("mscale") and rope.get("mscale_all_dim"):
        return scale(rope["mscale"]) / scale(rope["mscale_all_dim"])
    return scale(1.0)


def _longrope(plain: Sequence[float], rope: Entries, factor: float, original: int) -> Rotary:
    scale = rope.get("attention_factor")
    if scale is None:
        scale = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    short, long = (
        tuple(each / divisor for each, divisor in zip(plain, rope[name], strict=True))
        for name in ("short_factor", "long_factor")
    )
    return Rotary(short, float(scale), long, original)


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, straight between."""
    return min(max((value - low) / (high - low), 0.0), 1.0)
