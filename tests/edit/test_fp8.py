"""FP8 checkpoints are edited in their own format: same scales, same layout, and the direction is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from surgery.checkpoint.hashes import same_range
from surgery.checkpoint.layout import open_checkpoint
from surgery.checkpoint.quantisation import refusal
from surgery.edit.audit import audit
from surgery.edit.proof import read_stream
from surgery.errors import AnatomyError, EditError
from surgery.linalg.projection import project
from surgery.model.loading import quiet_transformers
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import directions, plan_for, run, write_weights
from tests.edit.fp8_sources import KINDS, dequantised, make_fp8_source


@pytest.mark.parametrize("kind", KINDS)
def test_the_direction_goes_and_every_other_byte_stays(tmp_path: Path, kind: str) -> None:
    source = make_fp8_source(tmp_path / "s", kind)
    plan = plan_for(source)
    edited = run(plan, source, tmp_path / "out")
    scaled = [edit for edit in plan.edits if edit.scale is not None]
    assert {edit.dtype for edit in scaled} == {"F8_E4M3"} and len(scaled) == len(plan.edits) - 1
    assert any(source.entry(edit.scale.tensor)[0] != edit.file for edit in scaled if edit.scale is not None)
    result = audit(plan, source, edited)
    assert result.problems == () and result.untouched_identical
    for row in result.rows:
        if row.tensor != "model.embed_tokens.weight":
            assert (
                row.rounding == "feedback"
                and row.leak < 0.03
                and row.achieved[0] == pytest.approx(1, abs=0.01)
            )
    for name in source.tensors:
        if name not in {edit.tensor for edit in plan.edits}:
            file, entry = source.entry(name)
            assert same_range(source.folder / file, edited.folder / file, entry.start, entry.end), name


@pytest.mark.parametrize("kind", ["blocks", "blocks that do not fit", "rows", "tensors"])
@pytest.mark.parametrize("strength", [1.0, -0.5])
def test_elements_are_those_of_the_plain_projection(tmp_path: Path, kind: str, strength: float) -> None:
    source = make_fp8_source(tmp_path / "s", kind)
    plan = plan_for(source, [Ablate(ablate="r0", strength=strength)])
    edited = dequantised(run(plan, source, tmp_path / "out"))
    base = dequantised(source)
    for edit in plan.edits:
        if edit.scale is None:
            continue
        wanted = project(
            base[edit.tensor], plan.vectors["r0"][None], [strength], residual_axis=edit.residual_axis
        )
        scale = wanted.abs().max()
        moved = (edited[edit.tensor] - wanted).abs()
        assert float((moved / (wanted.abs() + scale / 448)).max()) < 0.3  # two steps of three bits
        assert float(moved.norm() / wanted.norm()) < 0.06


def test_the_stream_is_clean(tmp_path: Path) -> None:
    """The edited codes, dequantised and run by transformers."""
    source = make_fp8_source(tmp_path / "s")
    edited = run(plan_for(source), source, tmp_path / "out")
    readings = []
    for name, checkpoint in (("base", source), ("edited", edited)):
        plain = tmp_path / name
        plain.mkdir()
        config = {key: value for key, value in checkpoint.config.items() if key != "quantization_config"}
        (plain / "config.json").write_text(json.dumps(config))
        write_weights(plain, dequantised(checkpoint))
        readings.append(read_stream(plain, directions(1)["r0"][None], seed=0).max_component)
    before, after = readings
    assert before > 0.3 and after < 0.02


def test_transformers_reads_the_same_numbers(tmp_path: Path) -> None:
    """Where there is no GPU it dequantises on loading, by its own rule."""
    from transformers import AutoModelForCausalLM

    source = make_fp8_source(tmp_path / "s", "blocks that fit")
    edited = run(plan_for(source), source, tmp_path / "out")
    with quiet_transformers():
        network = AutoModelForCausalLM.from_pretrained(edited.folder, dtype=torch.bfloat16)
    loaded = network.state_dict()
    for name, tensor in dequantised(edited).items():
        torch.testing.assert_close(loaded[name].float(), tensor, rtol=2**-8, atol=1e-6)


def test_rounding_to_nearest_would_leave_it(tmp_path: Path) -> None:
    """Why an FP8 matrix is always rounded with feedback, whatever the recipe says."""
    source = make_fp8_source(tmp_path / "s")
    plan = plan_for(source, rounding="nearest")
    edited = run(plan, source, tmp_path / "out")
    base, after = dequantised(source), dequantised(edited)
    name = "model.layers.1.mlp.down_proj.weight"
    q = torch.from_numpy(plan.vectors["r0"]).float()
    exact = base[name] - torch.outer(q, q @ base[name])
    step = torch.finfo(torch.float8_e4m3fn).eps
    nearest = exact * (1 + step / 2 * (torch.rand_like(exact) - 0.5))
    feedback, plain = (float((q @ each).norm() / (q @ base[name]).norm()) for each in (after[name], nearest))
    assert feedback < plain / 3


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_refused(tmp_path: Path, scale: float) -> None:
    source = make_fp8_source(tmp_path / "s", shards=1)
    name = "model.layers.1.mlp.down_proj.weight_scale_inv"
    file, entry = source.entry(name)
    data = bytearray((source.folder / file).read_bytes())
    data[entry.start : entry.start + 4] = torch.tensor([scale]).numpy().tobytes()
    (source.folder / file).write_bytes(data)
    source = open_checkpoint(source.folder)
    with pytest.raises(EditError, match=rf"{name}: holds a scale that is not a positive number"):
        run(plan_for(source), source, tmp_path / "out")


def test_codes_without_their_scales_are_refused(tmp_path: Path) -> None:
    """What a bare cast would make of them is off by a factor of thousands."""
    source = make_fp8_source(tmp_path / "s", shards=1)
    config = json.loads((source.folder / "config.json").read_text())
    config["quantization_config"]["weight_block_size"] = [8, 8]  # no longer the shape of the scales
    (source.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EditError, match="mean nothing without their scales"):
        plan_for(open_checkpoint(source.folder))


@pytest.mark.parametrize(
    ("method", "way_out"),
    [
        ("mxfp4", "Mxfp4Config"),
        ("gptq", "give the unquantised model"),
        ("awq", "give the unquantised model"),
        ("bitsandbytes", "load the edited result in 4 or 8 bit"),
        ("compressed-tensors", "compress the result again"),
        ("torchao", "dequantised"),
    ],
)
def test_other_formats_are_refused_with_the_way_out(tmp_path: Path, method: str, way_out: str) -> None:
    source = make_fp8_source(tmp_path / "s", shards=1)
    config = json.loads((source.folder / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": method,
        "config_groups": {"g": {"weights": {"type": "int"}}},
    }
    (source.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(AnatomyError, match=rf"quantised \({method}\).*{way_out}"):
        plan_for(open_checkpoint(source.folder))
    assert refusal({"model_type": "llama"}) is None
