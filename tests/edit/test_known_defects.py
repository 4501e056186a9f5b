"""Ways in which an edit goes wrong unseen, each met in the field: one model a defect, edited from disk to
disk.

Others of the list stand where their subject is: scales in another shard (test_fp8), file modes and links
(test_executor), runs that were killed (test_resume), over-ablation (test_audit), strengths and twice-is-once
(test_laws), norms between writer and stream (test_proof).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.edit.audit import audit
from surgery.errors import AnatomyError
from surgery.model.families.trials import TRIALS
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import METADATA, anatomy_of, make_source, plan_for, run, write_weights
from tests.model.family_configs import CONFIGS

D = 32


def _trial(model_type: str) -> dict[str, object]:
    return {"model_type": model_type, **TRIALS[model_type][0]}


def _rewrite(source: Checkpoint, tensors: dict[str, torch.Tensor], **config: object) -> Checkpoint:
    """The same folder with other tensors, and some other settings."""
    path = source.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    write_weights(source.folder, tensors)
    return open_checkpoint(source.folder)


def _all(source: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: read_tensor(source, name, None) for name in source.tensors}


def _changed(source: Checkpoint, edited: Checkpoint) -> set[str]:
    return {
        name
        for name in source.tensors
        if not torch.equal(read_tensor(source, name, None), read_tensor(edited, name, None))
    }


def _left(edited: Checkpoint, source: Checkpoint, tensor: str, axis: int, q: np.ndarray) -> float:
    """What is left of the component along one axis, as a share of what was there."""
    before, after = (
        np.tensordot(read_tensor(each, tensor, torch.float64).numpy(), q, axes=(axis, 0))
        for each in (source, edited)
    )
    return float(np.linalg.norm(after) / np.linalg.norm(before))


def test_a_square_attention_output_is_projected_on_the_side_that_writes(tmp_path: Path) -> None:
    """By its shape alone [d_model, d_model] could be either way round."""
    source = make_source(tmp_path / "s", CONFIGS["llama"])
    name = "model.layers.0.self_attn.o_proj.weight"
    assert source.shapes[name] == (D, D)
    plan = plan_for(source)
    edited = run(plan, source, tmp_path / "out")
    assert _left(edited, source, name, 0, plan.vectors["r0"]) < 1e-6
    assert _left(edited, source, name, 1, plan.vectors["r0"]) > 0.5


def test_experts_as_wide_as_the_stream_are_projected_along_their_last_axis(tmp_path: Path) -> None:
    """gpt-oss: [experts, 2880, 2880], used as x @ W. The wrong axis raises no error."""
    source = make_source(tmp_path / "s", _trial("gpt_oss"))
    tensors = _all(source)
    inter = source.shapes["model.layers.0.mlp.experts.down_proj"][1]
    for name, tensor in tensors.items():
        if name.endswith("experts.down_proj"):
            tensors[name] = tensor[:, :D].contiguous()
        elif name.endswith(("gate_up_proj", "gate_up_proj_bias")):
            tensors[name] = tensor[..., : 2 * D].contiguous()
    assert inter > D
    source = _rewrite(source, tensors, intermediate_size=D)
    plan = plan_for(source)
    edited = run(plan, source, tmp_path / "out")
    q = plan.vectors["r0"]
    for layer in range(anatomy_of(source).n_layers):
        name = f"model.layers.{layer}.mlp.experts.down_proj"
        assert source.shapes[name][1:] == (D, D)
        assert _left(edited, source, name, 2, q) < 1e-6 < 0.5 < _left(edited, source, name, 1, q)
        assert _left(edited, source, f"{name}_bias", 1, q) < 1e-6
        assert _left(edited, source, f"model.layers.{layer}.self_attn.o_proj.bias", 0, q) < 1e-6


def test_conv1d_is_projected_along_its_columns(tmp_path: Path) -> None:
    """GPT-2 stores [in, out], and attn.c_proj is square."""
    source = make_source(tmp_path / "s", _trial("gpt2"))
    plan = plan_for(source)
    edited = run(plan, source, tmp_path / "out")
    (name,) = [each for each in source.tensors if each.endswith("h.0.attn.c_proj.weight")]
    assert source.shapes[name] == (D, D)
    assert _left(edited, source, name, 1, plan.vectors["r0"]) < 1e-6
    assert _left(edited, source, name, 0, plan.vectors["r0"]) > 0.5


@pytest.mark.parametrize("layer", [1, 10, 11])
def test_layer_1_is_not_a_prefix_of_layers_10_to_19(tmp_path: Path, layer: int) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"])
    tensors = {name: tensor for name, tensor in _all(source).items() if ".layers." not in name}
    for number in range(12):
        for name, tensor in _all(source).items():
            if ".layers.0." in name:
                tensors[name.replace(".layers.0.", f".layers.{number}.")] = tensor
    source = _rewrite(source, tensors, num_hidden_layers=12)
    edited = run(plan_for(source, [Ablate(ablate="r0", layers=[layer])]), source, tmp_path / "out")
    assert _changed(source, edited) == {
        f"model.layers.{layer}.{part}.weight" for part in ("self_attn.o_proj", "mlp.down_proj")
    }


@pytest.mark.parametrize("model_type", ["qwen2_moe", "deepseek_v3", "granitemoeshared", "mixtral"])
def test_every_routed_and_every_shared_expert_is_edited(tmp_path: Path, model_type: str) -> None:
    source = make_source(tmp_path / "s", _trial(model_type))
    plan = plan_for(source)
    edited = run(plan, source, tmp_path / "out")
    ends = ("down_proj.weight", "w2.weight", "output_linear.weight")
    experts = {
        name
        for name in source.tensors
        if name.endswith(ends) and ("expert" in name or "moe" in name or "shared" in name)
    }
    assert len(experts) >= 2
    assert experts <= _changed(source, edited)
    assert audit(plan, source, edited).max_leak < 1e-5


@pytest.mark.parametrize("lost", ["experts.3.down_proj", "shared_expert.down_proj", "o_proj"])
def test_a_writer_that_is_missing_stops_the_run(tmp_path: Path, lost: str) -> None:
    """Where others pass over in silence what they do not find."""
    source = make_source(tmp_path / "s", _trial("qwen2_moe"))
    tensors = _all(source)
    gone = next(name for name in tensors if lost in name)
    source = _rewrite(source, {name: tensor for name, tensor in tensors.items() if name != gone})
    with pytest.raises(AnatomyError, match=gone.replace(".", r"\.")):
        plan_for(source)


def test_metadata_of_the_header_survives(tmp_path: Path) -> None:
    """torchao keeps there what its tensors are; rewritten as {"format": "pt"} the file is lost."""
    source = make_source(tmp_path / "s", CONFIGS["llama"], shards=2)
    edited = run(plan_for(source), source, tmp_path / "out")
    for name, header in edited.headers.items():
        assert dict(header.metadata) == METADATA and header.raw == source.headers[name].raw


def test_layers_that_only_propose_tokens_survive(tmp_path: Path) -> None:
    """Multi-token prediction: no model class loads them, so saving through one drops them."""
    source = make_source(tmp_path / "s", _trial("deepseek_v3"))
    n_layers = anatomy_of(source).n_layers
    tensors = _all(source)
    last = f"model.layers.{n_layers - 1}."
    drafts = {
        name.replace(last, f"model.layers.{n_layers}."): tensor.clone()
        for name, tensor in tensors.items()
        if last in name
    }
    drafts[f"model.layers.{n_layers}.eh_proj.weight"] = torch.ones(D, 2 * D)
    source = _rewrite(source, tensors | drafts, num_nextn_predict_layers=1)
    edited = run(plan_for(source), source, tmp_path / "out")
    assert set(edited.tensors) == set(source.tensors)
    assert not _changed(source, edited) & set(drafts)


def test_keys_and_values_that_later_layers_borrow_survive(tmp_path: Path) -> None:
    """Gemma 4: on disk every layer has its own; the model class leaves those of the last layers out."""
    source = make_source(tmp_path / "s", _trial("gemma4_text") | {"num_kv_shared_layers": 10})
    tensors = _all(source)
    names = [name for name in tensors if ".self_attn.q_proj." in name]
    unread = {
        name.replace("q_proj", f"{kind}_proj"): tensors[name].clone() for name in names for kind in "kv"
    }
    unread = {name: tensor for name, tensor in unread.items() if name not in tensors}
    assert unread
    source = _rewrite(source, tensors | unread)
    edited = run(plan_for(source), source, tmp_path / "out")
    assert set(edited.tensors) == set(source.tensors)
    assert not _changed(source, edited) & set(unread)


def test_each_tensor_keeps_its_own_type(tmp_path: Path) -> None:
    """Norms in float32 beside matrices in bfloat16 and a float16 head: nothing is cast to one type."""
    source = make_source(tmp_path / "s", CONFIGS["llama"], dtype=torch.bfloat16)
    tensors = _all(source)
    kinds = {"norm.weight": torch.float32, "lm_head.weight": torch.float16, "o_proj.weight": torch.float32}
    for name, tensor in tensors.items():
        for end, kind in kinds.items():
            if name.endswith(end):
                tensors[name] = tensor.to(kind)
    source = _rewrite(source, tensors)
    plan = plan_for(source)
    edited = run(plan, source, tmp_path / "out")
    assert {name: entry.dtype for name, entry in edited.tensors.items()} == {
        name: entry.dtype for name, entry in source.tensors.items()
    }
    assert {edit.dtype for edit in plan.edits} == {"BF16", "F32"}
    assert audit(plan, source, edited).problems == ()
