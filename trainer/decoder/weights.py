"""A model's safetensors as stacked arrays: every array of a block has the layers as its first axis.

Only the blocks asked for are read, each tensor once. Fused matrices (phi3) are split, matrices are
transposed to (in, out), gemma's norm gains become 1 + g in float32. In 8 bits a matrix is

    W ≈ Q · s        s_j = max_i |W_ij| / 127 for each output j,  Q = round(W / s) in −127 … 127

that is a byte a weight and a float32 for each output; embedding, biases and norms stay as they are.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from surgery.errors import SourceError
from trainer.decoder.shape import Shape

Arrays = dict[str, jax.Array]
Get = Callable[[str], np.ndarray]
NORMS_BEFORE = {"attention_in": "input_layernorm", "mlp_in": "post_attention_layernorm"}
NORMS_AROUND = {
    "attention_in": "input_layernorm",
    "attention_out": "post_attention_layernorm",
    "mlp_in": "pre_feedforward_layernorm",
    "mlp_out": "post_feedforward_layernorm",
}


def load_weights(
    folder: Path, shape: Shape, layers: int, dtype: Any, *, int8: bool = False
) -> tuple[jax.Array, Arrays]:
    """The embedding (vocabulary, d_model) and the first `layers` blocks, in `dtype`, norm gains and scales in
    float32; with `int8` matrices in 8 bits, and `scale_…` (layers, out) beside each.

    Raises: SourceError when a file or a tensor is missing.
    """
    try:
        with ExitStack() as stack:
            get = _opened(folder, stack)
            plain = (_block(get, shape, layer) for layer in range(layers))
            blocks = [_in_8_bits(block) if int8 else block for block in plain]
            embedding = jnp.asarray(get("model.embed_tokens.weight"), dtype)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise SourceError(f"{folder}: weights cannot be read: {error!r}") from error
    names = blocks[0] if blocks else {}
    return embedding, {
        name: jnp.stack([jnp.asarray(block[name], _dtype(name, block[name], dtype)) for block in blocks])
        for name in names
    }


def _dtype(name: str, array: np.ndarray, dtype: Any) -> Any:
    if array.dtype == np.int8:
        return jnp.int8
    return jnp.float32 if name.startswith(("norm", "scale")) else dtype


def _in_8_bits(block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of a block, each matrix (in, out) as 8-bit numbers and a scale (out,)."""
    found = {name: array for name, array in block.items() if array.ndim < 2}
    for name in block.keys() - found.keys():
        matrix = block[name].astype(np.float32)
        scale = np.abs(matrix).max(0) / 127
        levels = np.rint(matrix / np.where(scale > 0, scale, 1))
        found |= {name: levels.astype(np.int8), f"scale_{name}": scale}
    return found


def _opened(folder: Path, stack: ExitStack) -> Get:
    index, names = folder / "model.safetensors.index.json", {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    files = [stack.enter_context(safe_open(folder / name, framework="numpy")) for name in sorted(names)]
    holders = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (no mapping)
    return lambda name: holders[name].get_tensor(name)


def _block(get: Get, shape: Shape, layer: int) -> dict[str, np.ndarray]:
    place = f"model.layers.{layer}."
    names = NORMS_AROUND if shape.norms_after else NORMS_BEFORE
    found = {f"norm_{name}": _gain(get(f"{place}{module}.weight"), shape) for name, module in names.items()}
    query, key = shape.heads * shape.head_dim, shape.key_heads * shape.head_dim
    if shape.family == "phi3":
        fused, both = get(place + "self_attn.qkv_proj.weight"), get(place + "mlp.gate_up_proj.weight")
        parts = np.split(fused, [query, query + key])
        gate, up = np.split(both, 2)
    else:
        parts = [get(f"{place}self_attn.{name}_proj.weight") for name in "qkv"]
        gate, up = get(place + "mlp.gate_proj.weight"), get(place + "mlp.up_proj.weight")
    matrices = dict(zip(("query", "key", "value"), parts, strict=True))
    matrices |= {"gate": gate, "up": up, "down": get(place + "mlp.down_proj.weight")}
    matrices["output"] = get(place + "self_attn.o_proj.weight")
    found |= {name: matrix.T for name, matrix in matrices.items()}
    found |= _biases(get, place)
    if shape.family in ("qwen3", "gemma3_text"):
        found["norm_query"] = _gain(get(place + "self_attn.q_norm.weight"), shape)
        found["norm_key"] = _gain(get(place + "self_attn.k_norm.weight"), shape)
    return found


def _biases(get: Get, place: str) -> dict[str, np.ndarray]:
    modules = {
        "query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj",
        "output": "self_attn.o_proj", "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
    }  # fmt: skip
    found = {}
    for name, module in modules.items():
        with suppress(KeyError):
            found[f"bias_{name}"] = get(f"{place}{module}.bias")
    return found


def _gain(weight: np.ndarray, shape: Shape) -> np.ndarray:
    gain = weight.astype(np.float32)
    return 1 + gain if shape.is_gemma else gain
