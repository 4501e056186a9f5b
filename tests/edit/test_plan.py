"""Plans: which tensors, why, and what is said about those that stay."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.edit.plan import make_plan
from surgery.edit.plan_record import plan_as_json
from surgery.errors import EditError
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import anatomy_of, directions, make_source, plan_for, write_weights
from tests.model.family_configs import CONFIGS


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_source(tmp_path_factory.mktemp("p") / "llama", CONFIGS["llama tied, biases"], shards=2)


@pytest.fixture(scope="module")
def gemma2(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_source(tmp_path_factory.mktemp("p") / "gemma2", CONFIGS["gemma2"])


def test_all_writers_and_nothing_else(llama: Checkpoint) -> None:
    plan = plan_for(llama)
    assert {edit.tensor for edit in plan.edits} == {writer.tensor for writer in anatomy_of(llama).writers}
    for edit in plan.edits:
        file, entry = llama.entry(edit.tensor)
        assert (edit.file, edit.start, edit.end, edit.dtype, edit.shape) == (
            file, entry.start, entry.end, entry.dtype, entry.shape,
        )  # fmt: skip
        assert edit.directions == ("r0",) and edit.strengths == (1.0,)
    assert plan.edited_bytes == sum(edit.end - edit.start for edit in plan.edits)
    assert plan.total_bytes == llama.total_bytes
    assert list(plan.edits) == sorted(plan.edits, key=lambda edit: (edit.file, edit.start))
    np.testing.assert_allclose(np.linalg.norm(plan.vectors["r0"]), 1)


def test_readers_are_never_edited(llama: Checkpoint, gemma2: Checkpoint) -> None:
    for checkpoint in (llama, gemma2):
        names = " ".join(edit.tensor for edit in plan_for(checkpoint).edits)
        assert not [
            part
            for part in ("q_proj", "k_proj", "v_proj", "gate", "up_proj", "norm", "lm_head")
            if part in names
        ]


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        (Ablate(ablate="r0", writers=["mlp_out"]), {"mlp_out"}),
        (Ablate(ablate="r0", writers=["embedding", "attention_out"]), {"embedding", "attention_out"}),
        (Ablate(ablate="r0", layers=[1]), {"attention_out", "mlp_out"}),
    ],
)
def test_steps_choose_roles_and_layers(llama: Checkpoint, step: Ablate, kept: set[str]) -> None:
    plan = plan_for(llama, [step])
    assert {edit.role for edit in plan.edits} == kept
    if step.layers is not None:
        assert {edit.layer for edit in plan.edits} == set(step.layers)
    assert any("r0: " in note and "can still write it" in note for note in plan.notes)


def test_reasons_say_where_the_output_goes(gemma2: Checkpoint) -> None:
    why = {edit.tensor: edit.why for edit in plan_for(gemma2).edits}
    assert why["model.embed_tokens.weight"] == "it starts the stream, and is also the unembedding"
    assert why["model.layers.1.mlp.down_proj.weight"] == (
        "the output of the MLP of layer 1 is added to the stream, through post_feedforward_layernorm"
    )


def test_tied_embeddings_are_accepted_or_skipped(llama: Checkpoint) -> None:
    accepted, skipped = plan_for(llama, tied="accept"), plan_for(llama, tied="skip")
    assert {edit.tensor for edit in accepted.edits} - {edit.tensor for edit in skipped.edits} == {
        "model.embed_tokens.weight"
    }
    assert any(
        "also removes the direction from what the unembedding reads" in note for note in accepted.notes
    )
    assert any("tied: skip" in note for note in skipped.notes)


@pytest.mark.parametrize(("tied", "count"), [("accept", 2), ("skip", 0)])
def test_both_tied_copies_or_neither(tmp_path: Path, tied: Any, count: int) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama tied, biases"])
    tensors = {name: read_tensor(source, name) for name in source.tensors}
    write_weights(tmp_path / "s", tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    plan = plan_for(open_checkpoint(tmp_path / "s"), tied=tied)
    assert sum(edit.role == "embedding" for edit in plan.edits) == count


def test_several_directions_meet_in_one_edit(llama: Checkpoint) -> None:
    steps = [
        Ablate(ablate="r1", strength=0.5),
        Ablate(ablate="r0", layers=[0]),
        Ablate(ablate="r2", strength=0.0),
    ]
    edits = {edit.tensor: edit for edit in plan_for(llama, steps).edits}
    assert edits["model.layers.0.mlp.down_proj.weight"].directions == ("r1", "r0")
    assert edits["model.layers.0.mlp.down_proj.weight"].strengths == (0.5, 1.0)
    assert edits["model.layers.1.mlp.down_proj.weight"].directions == ("r1",)


def test_strength_zero_plans_nothing(llama: Checkpoint) -> None:
    plan = plan_for(llama, [Ablate(ablate="r0", strength=0.0)])
    assert plan.edits == () and plan.edited_bytes == 0 and "a copy of the source" in plan.notes[0]


def test_files_that_stay_behind_are_told(llama: Checkpoint) -> None:
    odd = os.fsdecode(b"caf\xe9.bin")  # no UTF-8, and the plan is written as a file
    plan = plan_for(replace(llama, left_out=("pytorch_model.bin", ".git/", odd)))
    (note,) = (each for each in plan.notes if "not copied" in each)
    assert note.encode().endswith(b"pytorch_model.bin, .git/, caf\\udce9.bin")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([Ablate(ablate="r9")], "'r9': was not found"),
        ([Ablate(ablate="wide")], r"has shape \[33\], the model's stream is \[32\] wide"),
        ([Ablate(ablate="zero")], "is zero or not finite"),
        ([Ablate(ablate="nan", strength=0.0)], "is zero or not finite"),
        ([Ablate(ablate="r0", layers=[1, 2])], "there is no layer 2; this model has layers 0 to 1"),
        ([Ablate(ablate="r0"), Ablate(ablate="r0", layers=[0], strength=0.5)], "two steps ablate 'r0'"),
    ],
)
def test_impossible_steps_are_refused(llama: Checkpoint, steps: list[Ablate], said: str) -> None:
    vectors = directions(2) | {"wide": np.ones(33), "zero": np.zeros(32), "nan": np.full(32, np.nan)}
    with pytest.raises(EditError, match=said):
        make_plan(llama, anatomy_of(llama), steps, vectors)


def test_weights_that_need_scales_are_refused(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"], dtype=torch.float8_e4m3fn)
    with pytest.raises(
        EditError, match="stored as F8_E4M3, whose elements mean nothing without their scales"
    ):
        plan_for(source)


def test_a_plan_is_plain_data(gemma2: Checkpoint) -> None:
    plan = plan_for(gemma2, [Ablate(ablate="r0"), Ablate(ablate="r1", strength=-0.5)])
    data = json.loads(json.dumps(plan_as_json(plan)))
    assert len(data["edits"]) == len(plan.edits) and set(data["directions"]) == {"r0", "r1"}
    edit = next(each for each in data["edits"] if each["role"] == "mlp_out")
    assert edit["gain"]["offset"] == 1.0 and edit["directions"][1] == {"name": "r1", "strength": -0.5}
