"""From tokens to the activations at a hook point, the layers before it under one `lax.scan`.

    h = x + [norm] attention(norm x)        y = h + [norm] down(act(gate n) · up n),  n = norm h
    norm x = x / √(mean x² + ε) · gain, in float32
    attention: see `attention`; several query heads share a key head
    x W, for a matrix of 8-bit numbers (x Q) · s with s a factor a column
    visible: key not after query, within the window, in the same text

The result is that of transformers' eager attention up to rounding.
"""

from functools import partial

import jax
import jax.numpy as jnp

from trainer.config import HookSettings
from trainer.decoder.attention import Attention, attend
from trainer.decoder.rotary import turns
from trainer.decoder.shape import FULL, Shape
from trainer.decoder.weights import Arrays

PLAIN = Attention()


def _norm(x: jax.Array, gain: jax.Array, epsilon: float) -> jax.Array:
    wide = x.astype(jnp.float32)
    scaled = wide * jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + epsilon)
    return (scaled * gain.reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


def _linear(x: jax.Array, layer: Arrays, name: str) -> jax.Array:
    y = x @ layer[name].astype(x.dtype)
    if f"scale_{name}" in layer:
        y = (y.astype(jnp.float32) * layer[f"scale_{name}"][None, None, :]).astype(x.dtype)
    return y + layer[f"bias_{name}"][None, None, :] if f"bias_{name}" in layer else y


Turns = tuple[jax.Array, jax.Array]  # cosines and sines, both (batch, position, pairs)
Seen = tuple[jax.Array, jax.Array]  # what is visible (batch, query, key), segments (batch, position)


def _turned(x: jax.Array, turn: Turns) -> jax.Array:
    """Rotary embedding of x (batch, position, heads, head_dim)."""
    half = turn[0].shape[-1]
    cosine, sine = (each[:, :, None, :].astype(x.dtype) for each in turn)
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine, rest], -1)


def _attention(
    x: jax.Array, layer: Arrays, turn: Turns, seen: Seen, shape: Shape, attention: Attention
) -> jax.Array:
    rows, width, _ = x.shape
    heads = {"query": shape.heads, "key": shape.key_heads, "value": shape.key_heads}
    parts = {
        name: _linear(x, layer, name).reshape(rows, width, count, shape.head_dim)
        for name, count in heads.items()
    }
    for name in ("query", "key"):
        if f"norm_{name}" in layer:
            parts[name] = _norm(parts[name], layer[f"norm_{name}"], shape.epsilon)
        parts[name] = _turned(parts[name], turn)
    mixed = attend(parts["query"], parts["key"], parts["value"], *seen, shape, attention)
    return _linear(mixed.reshape(rows, width, -1), layer, "output")


def _block(
    x: jax.Array, layer: Arrays, shape: Shape, turn: Turns, seen: Seen, attention: Attention
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The block's output, and what its MLP reads and returns, all (batch, position, d_model)."""
    mixed = _attention(
        _norm(x, layer["norm_attention_in"], shape.epsilon), layer, turn, seen, shape, attention
    )
    if shape.norms_after:
        mixed = _norm(mixed, layer["norm_attention_out"], shape.epsilon)
    x = x + mixed
    read = _norm(x, layer["norm_mlp_in"], shape.epsilon)
    gate = _linear(read, layer, "gate")
    gate = jax.nn.silu(gate) if shape.activation == "silu" else jax.nn.gelu(gate, approximate=True)
    written = _linear(gate * _linear(read, layer, "up"), layer, "down")
    added = _norm(written, layer["norm_mlp_out"], shape.epsilon) if shape.norms_after else written
    return x + added, read, written


def depth(hook: HookSettings) -> int:
    """How many blocks must be read for a hook point."""
    return hook.layer if hook.point == "resid_pre" else hook.layer + 1


@partial(jax.jit, static_argnames=("shape", "hook", "attention"))
def activations(
    embedding: jax.Array, layers: Arrays, ids: jax.Array, positions: jax.Array, segments: jax.Array,
    *, shape: Shape, hook: HookSettings, attention: Attention = PLAIN,
) -> jax.Array:  # fmt: skip
    """Activations at `hook`, float32 (batch, position, d_model), at `mlp` (batch, position, 2 d_model).

    `ids`, `positions` and `segments` (which text of its row a token belongs to, −1 at padding) are
    (batch, position) int32; `layers` holds the first `depth(hook)` blocks.
    """
    x = embedding[ids]
    if shape.is_gemma:
        x = x * jnp.asarray(shape.d_model**0.5, x.dtype)
    if depth(hook) == 0:
        return x.astype(jnp.float32)
    place = jnp.arange(ids.shape[1])
    distance = place[:, None] - place[None, :]
    same = (segments[:, :, None] == segments[:, None, :]) & (distance >= 0)[None]
    full, local = (turns(rotary, positions) for rotary in shape.rotary)

    def block(x: jax.Array, one: tuple[Arrays, jax.Array]) -> tuple[jax.Array, jax.Array]:
        layer, window = one
        visible = same & (distance < window)[None]
        turn = jax.tree.map(partial(jnp.where, window < FULL), local, full)
        output, read, written = _block(x, layer, shape, turn, (visible, segments), attention)
        return output, jnp.concatenate([read, written], -1)

    def carry(x: jax.Array, one: tuple[Arrays, jax.Array]) -> tuple[jax.Array, None]:
        return block(x, one)[0], None

    windows = jnp.array(shape.windows[: depth(hook)], jnp.int32)
    if hook.point == "mlp":
        before = jax.tree.map(lambda array: array[:-1], (layers, windows))
        x = jax.lax.scan(carry, x, before)[0]
        return block(x, jax.tree.map(lambda array: array[-1], (layers, windows)))[1].astype(jnp.float32)
    return jax.lax.scan(carry, x, (layers, windows))[0].astype(jnp.float32)
