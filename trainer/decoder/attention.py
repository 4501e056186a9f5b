"""Attention of the decoder: scores written out, or one fused kernel where the backend has it.

    plain    softmax(q·k · scale, soft-capped, masked) v in float32, any window; the scores are an array
    xla      `jax.nn.dot_product_attention`, the fused ones' plain counterpart on every backend
    cudnn    the same by cuDNN's flash attention, on a GPU, in bfloat16
    pallas   JAX's own flash attention for a TPU, on one device; rows of a multiple of 128 tokens

The fused kinds know no soft cap and no window shorter than a row. Without packing the causal mask alone
serves them: padding stands behind the text, so no token sees it, and what padding itself gets is not kept.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from surgery.errors import SourceError
from trainer.decoder.shape import Shape
from trainer.placement import DATA, MODEL, count

LEAST = float(np.finfo(np.float32).min)
LANES = 128  # of a TPU; its kernel works on blocks of so many tokens
Kind = Literal["plain", "xla", "cudnn", "pallas"]


@dataclass(frozen=True)
class Attention:
    """How it is computed; static in compiled code."""

    kind: Kind = "plain"
    packed: bool = False


def choose_attention(
    wanted: str, shape: Shape, layers: int, width: int, dtype: str, *, packed: bool
) -> Attention:
    """The kind that a config asks for; `auto` is the backend's own where it can do the first `layers` blocks
    of this model on rows of `width` tokens, else plain.

    Raises: SourceError when a kind asked for by name cannot do it.
    """
    if wanted == "plain":
        return Attention(packed=packed)
    if wanted == "auto":
        own: dict[str, Kind] = {"gpu": "cudnn", "tpu": "pallas"}
        kind: Kind = own.get(jax.default_backend(), "plain")
        return Attention("plain" if _obstacle(kind, shape, layers, width, dtype) else kind, packed)
    named: Kind = wanted  # type: ignore[assignment]  # the config knows no other
    why = _obstacle(named, shape, layers, width, dtype)
    if why is not None:
        raise SourceError(f"model.attention: {wanted} cannot be used: {why}; write auto or plain")
    return Attention(named, packed)


def _obstacle(kind: Kind, shape: Shape, layers: int, width: int, dtype: str) -> str | None:
    if kind == "plain":
        return None
    window, backend = min(shape.windows[:layers], default=width), jax.default_backend()
    if shape.softcap is not None:
        return "this model caps its attention scores"
    if window < width:
        return f"a window of {window} tokens is shorter than data.context, {width}"
    if kind == "cudnn" and (backend != "gpu" or dtype != "bfloat16"):
        return f"it needs a GPU and model.dtype: bfloat16, not {backend} and {dtype}"
    if kind == "cudnn" and (shape.head_dim % 8 or shape.head_dim > 128):
        return f"heads of {shape.head_dim} numbers are none of 8, 16 … 128"
    if kind == "pallas" and (backend != "tpu" or count(DATA) * count(MODEL) > 1 or width % LANES):
        return f"it needs one TPU device and data.context a multiple of {LANES}"
    return None


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, visible: jax.Array, segments: jax.Array, shape: Shape,
    attention: Attention,
) -> jax.Array:  # fmt: skip
    """Mixed values (batch, position, heads, head_dim) of queries of that shape; keys and values have
    `shape.key_heads` heads. `visible` (batch, query, key) bool; `segments` (batch, position) int32."""
    if attention.kind == "plain":
        return _plain(query, key, value, visible, shape)
    if attention.kind == "pallas":
        return _pallas(query, key, value, segments, shape)
    mixed: jax.Array = jax.nn.dot_product_attention(
        query, key, value, scale=shape.query_scale, implementation=attention.kind,
        is_causal=not attention.packed, mask=visible[:, None] if attention.packed else None,
    )  # fmt: skip
    return mixed


def _plain(query: jax.Array, key: jax.Array, value: jax.Array, visible: jax.Array, shape: Shape) -> jax.Array:
    grouped = query.reshape(*query.shape[:2], shape.key_heads, -1, shape.head_dim)
    scores = jnp.einsum("bqhgd,bkhd->bhgqk", grouped, key) * shape.query_scale
    scores = scores.astype(jnp.float32)
    if shape.softcap is not None:
        scores = jnp.tanh(scores / shape.softcap) * shape.softcap
    scores = jnp.where(visible[:, None, None], scores, LEAST)
    weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
    return jnp.einsum("bhgqk,bkhd->bqhgd", weights, value).reshape(query.shape)


def _pallas(
    query: jax.Array, key: jax.Array, value: jax.Array, segments: jax.Array, shape: Shape
) -> jax.Array:
    from jax.experimental.pallas.ops.tpu.flash_attention import SegmentIds, flash_attention

    group = shape.heads // shape.key_heads
    key, value = (jnp.repeat(each, group, axis=2) for each in (key, value))
    query, key, value = (each.transpose(0, 2, 1, 3) for each in (query, key, value))
    mixed: jax.Array = flash_attention(
        query, key, value, segment_ids=SegmentIds(segments, segments), causal=True, sm_scale=shape.query_scale
    )
    return mixed.transpose(0, 2, 1, 3)
