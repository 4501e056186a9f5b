"""The same edit as a PEFT adapter: low-rank factors for ablations, a bias for additions.

Ablation of orthonormal rows Q with strengths λ in a matrix W (d_model, d_in):  ΔW = B A with A = diag(λ) Q W
and B = −Qᵀ; in an embedding E (vocabulary, d_model): lora_embedding_A = diag(λ) Q Eᵀ, lora_embedding_B = −Qᵀ.
It is exact, for the base weights it was made from. An addition v at `resid_post` of layer l is `lora_B.bias`
= v on that layer's last MLP matrix (`lora_bias`, PEFT 0.14 or newer), exact where no norm stands between that
matrix and the stream. Scaling alpha / r is always 1, since older PEFT merges a bias wrongly otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.edit.addition import Addition
from surgery.edit.basis import tensor_basis
from surgery.edit.plan import Plan, TensorEdit
from surgery.errors import EditError
from surgery.model.anatomy import Anatomy

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
# Model types whose tensors carry the same names on disk as the modules that PEFT looks for.
_SAME_NAMES = frozenset({"llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3_text"})


@dataclass(frozen=True)
class Adapter:
    """A finished adapter: its configuration and tensors."""

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]


def make_adapter(
    plan: Plan, additions: Sequence[Addition], checkpoint: Checkpoint, anatomy: Anatomy, *, base: str
) -> Adapter:
    """Turn a plan and additions into one adapter.

    Args:
        base: the name under which users load the base model.

    Raises:
        EditError: PEFT cannot express this exactly; the message says why and what can.
    """
    if anatomy.model_type not in _SAME_NAMES:
        raise EditError(
            f"model type {anatomy.model_type!r}: its tensors have other names on disk than in memory; use"
            " form: checkpoint"
        )
    if any(edit.stretch is not None for edit in plan.edits):
        raise EditError(
            "columns that keep their length change by no low rank, so an adapter cannot hold them: leave"
            " `keep: column_norms` out, or use form: checkpoint"
        )
    if plan.untying is not None:
        raise EditError(
            "an adapter never changes the unembedding: leave `tied: untie` out, or use form: checkpoint"
        )
    matrices = [edit for edit in plan.edits if not edit.bias]
    biases = _bias_vectors(plan, additions, checkpoint, anatomy)
    _refuse_bias_beside_embedding(matrices, biases)
    rank = max((len(tensor_basis(edit, plan, checkpoint).rows) for edit in matrices), default=1)
    tensors: dict[str, torch.Tensor] = {}
    for edit in matrices:
        tensors.update(_factors(edit, plan, checkpoint, rank))
    modules = list(dict.fromkeys([*(_module(edit.tensor) for edit in matrices), *biases]))
    if biases:
        tensors.update(_with_biases(modules, biases, tensors, checkpoint, rank))
    return Adapter(_config(modules, rank, bias=bool(biases), base=base), tensors)


def write_adapter(
    adapter: Adapter, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write an adapter into an existing folder, in the layout stock PEFT loads."""
    from safetensors.torch import save

    tensors = {name: adapter.tensors[name].contiguous() for name in sorted(adapter.tensors)}
    (folder / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
    (folder / CONFIG).write_text(
        json.dumps(adapter.config, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
    if progress is not None:
        progress(1, 1)


def _config(modules: Sequence[str], rank: int, *, bias: bool, base: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(modules),
        "inference_mode": True,
    }
    # Left out where it is not needed, so that an ablation loads in PEFT older than the key.
    return {**config, "lora_bias": True} if bias else config


def _factors(edit: TensorEdit, plan: Plan, checkpoint: Checkpoint, rank: int) -> dict[str, torch.Tensor]:
    import torch

    basis = torch.zeros(rank, checkpoint.tensors[edit.tensor].shape[edit.residual_axis], dtype=torch.float64)
    found = tensor_basis(edit, plan, checkpoint)
    basis[: len(found.rows)] = torch.from_numpy(found.rows)
    strengths = torch.zeros(rank, dtype=torch.float64)
    strengths[: len(found.rows)] = torch.tensor(found.strengths, dtype=torch.float64)
    weight = read_tensor(checkpoint, edit.tensor).double()
    key = _PREFIX + _module(edit.tensor)
    along = basis @ (weight if edit.residual_axis == 0 else weight.T)  # (rank, d_in) or (rank, vocabulary)
    inner, outer = (strengths[:, None] * along).float(), (-basis.T).float()
    if edit.role == "embedding":
        return {f"{key}.lora_embedding_A": inner, f"{key}.lora_embedding_B": outer}
    return {f"{key}.lora_A.weight": inner, f"{key}.lora_B.weight": outer}


def _bias_vectors(
    plan: Plan, additions: Sequence[Addition], checkpoint: Checkpoint, anatomy: Anatomy
) -> dict[str, np.ndarray]:
    """What is added to the output of each module: steering vectors, and what an ablation takes from its
    bias."""
    biases: dict[str, np.ndarray] = {}
    for edit in plan.edits:
        if edit.bias:
            bias = read_tensor(checkpoint, edit.tensor).double().numpy()
            found = tensor_basis(edit, plan, checkpoint)
            biases[_module(edit.tensor)] = -(np.asarray(found.strengths) * (found.rows @ bias)) @ found.rows
    for addition in additions:
        module = _last_mlp_matrix(addition, anatomy)
        biases[module] = biases.get(module, np.zeros(anatomy.d_model)) + addition.vector
    return biases


def _last_mlp_matrix(addition: Addition, anatomy: Anatomy) -> str:
    writer = next(
        writer
        for writer in anatomy.writers
        if writer.role == "mlp_out" and writer.layer == addition.point.layer and not writer.bias
    )
    if writer.gain is not None:
        raise EditError(
            f"add {addition.direction}: in {anatomy.family} a norm ({writer.gain.tensor}) rescales whatever"
            " the MLP adds, so no bias"
            " and no PEFT adapter can add a constant vector to the stream; a run-time hook can"
        )
    return _module(writer.tensor)


def _refuse_bias_beside_embedding(matrices: Sequence[TensorEdit], biases: Mapping[str, Any]) -> None:
    if biases and any(edit.role == "embedding" for edit in matrices):
        raise EditError(
            "PEFT does not allow an embedding edit and biases in one adapter: write the ablation and the"
            " addition as two"
            " recipes, or give writers: [attention_out, mlp_out], or use form: checkpoint for the ablation"
        )


def _with_biases(
    modules: Sequence[str],
    biases: Mapping[str, np.ndarray],
    factors: Mapping[str, torch.Tensor],
    checkpoint: Checkpoint,
    rank: int,
) -> dict[str, torch.Tensor]:
    """Every targeted module needs a bias and both factors; those without an edit get zeros."""
    import torch

    tensors: dict[str, torch.Tensor] = {}
    for module in modules:
        d_out, d_in = checkpoint.tensors[f"{module}.weight"].shape
        key = _PREFIX + module
        bias = biases.get(module)
        tensors[f"{key}.lora_B.bias"] = torch.zeros(d_out) if bias is None else torch.from_numpy(bias).float()
        if f"{key}.lora_A.weight" not in factors:
            tensors[f"{key}.lora_A.weight"] = torch.zeros(rank, d_in)
            tensors[f"{key}.lora_B.weight"] = torch.zeros(d_out, rank)
    return tensors


def _module(tensor: str) -> str:
    return tensor.rsplit(".", 1)[0]
