"""Checkpoints of several families with known edits: each edit is written out plainly, in float64.

A writer is turned so that its residual axis comes first, (d, n), edited as a matrix, and turned back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from surgery.model.anatomy import Anatomy, Writer, read_anatomy

D, D_MLP, VOCABULARY, LAYERS, EXPERTS = 64, 160, 320, 4, 3
Tensors = dict[str, torch.Tensor]
Matrix = torch.Tensor
MatrixEdit = Callable[[Matrix, torch.Tensor], Matrix]

_LLAMA = {
    "self_attn.q_proj.weight": (D, D),
    "self_attn.k_proj.weight": (D // 2, D),
    "self_attn.v_proj.weight": (D // 2, D),
    "self_attn.o_proj.weight": (D, D),
    "mlp.gate_proj.weight": (D_MLP, D),
    "mlp.up_proj.weight": (D_MLP, D),
    "mlp.down_proj.weight": (D, D_MLP),
    "input_layernorm.weight": (D,),
    "post_attention_layernorm.weight": (D,),
}
_TOP = {"model.embed_tokens.weight": (VOCABULARY, D), "model.norm.weight": (D,)}
_HEAD = {"lm_head.weight": (VOCABULARY, D)}
_SIZES = {"hidden_size": D, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY}
_GEMMA = {"pre_feedforward_layernorm.weight": (D,), "post_feedforward_layernorm.weight": (D,)}
_GPT2 = {
    "ln_1.weight": (D,),
    "ln_1.bias": (D,),
    "ln_2.weight": (D,),
    "ln_2.bias": (D,),
    "attn.c_attn.weight": (D, 3 * D),
    "attn.c_attn.bias": (3 * D,),
    "attn.c_proj.weight": (D, D),
    "attn.c_proj.bias": (D,),
    "mlp.c_fc.weight": (D, D_MLP),
    "mlp.c_fc.bias": (D_MLP,),
    "mlp.c_proj.weight": (D_MLP, D),
    "mlp.c_proj.bias": (D,),
}
_EXPERTS = {
    f"block_sparse_moe.experts.{expert}.{name}.weight": shape
    for expert in range(EXPERTS)
    for name, shape in (("w1", (D_MLP, D)), ("w2", (D, D_MLP)), ("w3", (D_MLP, D)))
}
_ATTENTION = {name: shape for name, shape in _LLAMA.items() if "mlp" not in name}


def _layers(prefix: str, parts: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{layer}.{name}": shape for layer in range(LAYERS) for name, shape in parts.items()}


FAMILIES: dict[str, tuple[dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "llama": (
        {"model_type": "llama", "num_attention_heads": 4, "tie_word_embeddings": False, **_SIZES},
        {**_TOP, **_HEAD, **_layers("model.layers", _LLAMA)},
    ),
    "gemma2": (
        {"model_type": "gemma2", "num_attention_heads": 4, **_SIZES},
        {**_TOP, **_layers("model.layers", _LLAMA | _GEMMA)},
    ),
    "gpt2": (
        {"model_type": "gpt2", "n_embd": D, "n_layer": LAYERS, "n_head": 4, "vocab_size": VOCABULARY},
        {
            "transformer.wte.weight": (VOCABULARY, D),
            "transformer.wpe.weight": (48, D),
            "transformer.ln_f.weight": (D,),
            "transformer.ln_f.bias": (D,),
            **_layers("transformer.h", _GPT2),
        },
    ),
    "mixtral": (
        {"model_type": "mixtral", "num_local_experts": EXPERTS, "num_attention_heads": 4, **_SIZES},
        {
            **_TOP,
            **_HEAD,
            **_layers(
                "model.layers",
                {**_ATTENTION, **_EXPERTS, "block_sparse_moe.gate.weight": (EXPERTS, D)},
            ),
        },
    ),
}


def base(family: str, seed: int = 0) -> tuple[dict[str, Any], Tensors, Anatomy]:
    """Config, float64 tensors and anatomy; rows of every length, gains and biases away from neutral."""
    config, shapes = FAMILIES[family]
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 1:
            neutral = 1.0 if "weight" in name and family != "gemma2" else 0.0
            tensors[name] = neutral + 0.3 * value
        else:
            lengths = torch.exp(0.5 * torch.randn(shape[0], 1, generator=generator, dtype=torch.float64))
            across = torch.exp(0.5 * torch.randn(1, shape[1], generator=generator, dtype=torch.float64))
            tensors[name] = 0.05 * value * lengths * across
    return config, tensors, read_anatomy(config, shapes)


def direction(seed: int = 5) -> torch.Tensor:
    """A unit direction of the stream."""
    vector = torch.randn(D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return vector / vector.norm()


def edit_writers(
    tensors: Tensors,
    anatomy: Anatomy,
    r: torch.Tensor,
    edit: MatrixEdit,
    *,
    choose: Callable[[Writer], bool] = lambda writer: True,
) -> Tensors:
    """Every chosen writer as a matrix (d, n), edited along the direction carried through its norm."""
    edited = dict(tensors)
    for writer in anatomy.writers:
        if choose(writer):
            q = r
            if writer.gain is not None:
                q = (writer.gain.offset + tensors[writer.gain.tensor]) * r
                q = q / q.norm()
            value = tensors[writer.tensor].movedim(writer.residual_axis, 0)
            matrix = value.reshape(D, -1)
            changed = edit(matrix, q).reshape(value.shape)
            edited[writer.tensor] = changed.movedim(0, writer.residual_axis).contiguous()
    return edited


def ablated(strength: float) -> MatrixEdit:
    """W − λ r rᵀW."""
    return lambda W, r: W - strength * torch.outer(r, r @ W)


def oblique(W: Matrix, r: torch.Tensor) -> Matrix:
    """N (I − r rᵀ) N⁻¹ W, N the lengths of the rows."""
    N = W.norm(dim=1)
    unit = W / N[:, None]
    return N[:, None] * (unit - torch.outer(r, r @ unit))


def row_norm_preserving(W: Matrix, r: torch.Tensor) -> Matrix:
    """The oblique one, each row brought back to its length."""
    changed = oblique(W, r)
    return changed * (W.norm(dim=1) / changed.norm(dim=1))[:, None]


def column_norm_preserving(W: Matrix, r: torch.Tensor) -> Matrix:
    """W − r rᵀW, each column brought back to its length."""
    changed = W - torch.outer(r, r @ W)
    return changed * (W.norm(dim=0) / changed.norm(dim=0))


def rotated(W: Matrix, r: torch.Tensor) -> Matrix:
    """A rotation by 30 degrees in the plane of r and another direction: norms and rank say ablation."""
    other = direction(9)
    other = other - r * (r @ other)
    other = other / other.norm()
    angle = torch.tensor(0.52, dtype=torch.float64)
    plane = torch.stack([r, other])
    turn = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    ) - torch.eye(2, dtype=torch.float64)
    return W + plane.T @ turn @ plane @ W


def redirected(W: Matrix, r: torch.Tensor) -> Matrix:
    """What was written along r is also written along another direction: rank one, and no ablation."""
    other = direction(9)
    other = other - r * (r @ other)
    return W + torch.outer(other / other.norm(), r @ W)


def along_with_random_right_side(W: Matrix, r: torch.Tensor) -> Matrix:
    """Rank one along r in every writer, as an adapter might learn it: the right side is not rᵀW."""
    v = torch.randn(W.shape[1], generator=torch.Generator().manual_seed(W.shape[1]), dtype=torch.float64)
    return W - torch.outer(r, v) * (r @ W).norm() / v.norm()


def nearly_its_own_right_side(W: Matrix, r: torch.Tensor) -> Matrix:
    """Rank one along r, as large as what was there, its right side at a cosine of 0.9 with rᵀW."""
    a = r @ W
    v = torch.randn(W.shape[1], generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    v = v - a * (v @ a) / (a @ a)
    return W - torch.outer(r, 0.9 * a + 0.19**0.5 * v / v.norm() * a.norm())


def ablated_in_half_of_the_columns(W: Matrix, r: torch.Tensor) -> Matrix:
    """What every second input writes along r stays."""
    a = (r @ W).clone()
    a[::2] = 0
    return W - torch.outer(r, a)


def clipped(W: Matrix, r: torch.Tensor) -> Matrix:
    """Only what is positive along r is taken away."""
    return W - torch.outer(r, (r @ W).clamp(min=0))


def moved(W: Matrix, r: torch.Tensor) -> Matrix:
    """What was written along r is written along another direction instead."""
    return W - torch.outer(r - direction(8), r @ W)


def projected_on_the_wrong_side(W: Matrix, r: torch.Tensor) -> Matrix:
    """W − W p pᵀ, as tools do that guess the axis from a square shape."""
    p = torch.randn(W.shape[1], generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    p = p / p.norm()
    return W - torch.outer(W @ p, p)


def row_norms_at_rank_three(W: Matrix, r: torch.Tensor) -> Matrix:
    """The row-norm-preserving one, of whose change an adapter of rank three keeps the most."""
    U, S, Vh = torch.linalg.svd(row_norm_preserving(W, r) - W, full_matrices=False)
    return W + U[:, :3] * S[:3] @ Vh[:3]


def with_adapter(tensors: Tensors, names: list[str], rank: int, scale: float = 0.2, seed: int = 3) -> Tensors:
    """A merged LoRA of this rank on these matrices."""
    generator = torch.Generator().manual_seed(seed)
    edited = dict(tensors)
    for name in names:
        W = tensors[name]
        B = torch.randn(W.shape[0], rank, generator=generator, dtype=torch.float64)
        A = torch.randn(rank, W.shape[1], generator=generator, dtype=torch.float64)
        edited[name] = W + scale * W.norm() / (B @ A).norm() * (B @ A)
    return edited


def fine_tuned(tensors: Tensors, scale: float = 0.03, seed: int = 4) -> Tensors:
    """Every tensor moved a little in every direction."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: W + scale * W.std() * torch.randn(W.shape, generator=generator, dtype=torch.float64)
        for name, W in tensors.items()
    }


def q8_0(W: torch.Tensor) -> torch.Tensor:
    """Blocks of 32 as whole multiples of max/127, where the rows allow it."""
    if W.dim() < 2 or W.shape[-1] % 32:
        return W
    blocks = W.reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    return (torch.round(blocks / scale) * scale).reshape(W.shape)


def four_bits(W: torch.Tensor) -> torch.Tensor:
    """Groups of 64 as fifteen levels."""
    if W.dim() < 2 or W.shape[-1] % 64:
        return W
    blocks = W.reshape(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True) / 7
    return (torch.round(blocks / scale) * scale).reshape(W.shape)


def save(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    dtype: torch.dtype = torch.bfloat16,
    *,
    shards: int = 1,
) -> Path:
    """Write a checkpoint, rounded to nearest once."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    stored = {name: value.to(dtype).contiguous() for name, value in tensors.items()}
    if shards == 1:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    table = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: stored[name] for name in sorted(stored)[number::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        table |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": table}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
