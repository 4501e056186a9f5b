"""A finished result checked from its bytes: what is as recorded passes, and each kind of change is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.sums import write_sums
from surgery.edit.plan_record import read_plan
from surgery.edit.recheck import recheck, recheck_as_json, recorded_base
from surgery.errors import CheckpointError, SourceError
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import make_source
from tests.edit.fp8_sources import make_fp8_source
from tests.edit.results import make_result
from tests.model.family_configs import CONFIGS


@pytest.fixture
def source(tmp_path: Path) -> Checkpoint:
    return make_source(tmp_path / "source", CONFIGS["gemma2"], dtype=torch.bfloat16, shards=2)


def test_the_plan_is_read_back_whole(source: Checkpoint, tmp_path: Path) -> None:
    steps = [Ablate(ablate="r1", strength=-0.5), Ablate(ablate="r0")]
    plan, out = make_result(source, tmp_path / "out", steps, rounding="feedback")
    again = read_plan(out / "surgery", source)
    assert again.edits == plan.edits and (again.rounding, again.notes) == ("feedback", plan.notes)
    assert (again.total_bytes, again.edited_bytes) == (plan.total_bytes, plan.edited_bytes)
    for name, vector in again.vectors.items():
        assert (vector == plan.vectors[name]).all()


def test_the_plan_of_an_fp8_result_is_read_back_whole(tmp_path: Path) -> None:
    source = make_fp8_source(tmp_path / "s")
    plan, out = make_result(source, tmp_path / "out")
    assert read_plan(out / "surgery", source).edits == plan.edits
    assert recheck(out, source.folder).problems == ()


def test_a_result_as_it_was_written_passes(source: Checkpoint, tmp_path: Path) -> None:
    plan, out = make_result(source, tmp_path / "out")
    seen: list[tuple[int, int]] = []
    result = recheck(out, source.folder, progress=lambda done, total: seen.append((done, total)))
    assert result.problems == () and result.audit is not None and result.audit.untouched_identical
    assert len(result.audit.rows) == len(plan.edits) and seen[-1] == (plan.edited_bytes,) * 2
    assert result.n_files == len([path for path in out.rglob("*") if path.is_file()]) - 1
    assert json.loads(json.dumps(recheck_as_json(result)))["audit"]["problems"] == []
    assert recorded_base(out).source == str(source.folder)


def test_without_a_base_the_record_alone_is_checked(source: Checkpoint, tmp_path: Path) -> None:
    _, out = make_result(source, tmp_path / "out")
    result = recheck(out, None)
    assert result.problems == () and result.audit is None
    record = json.loads((out / "surgery" / "audit.json").read_text())["tensors"]
    assert result.n_tensors == len(record) > 0
    for row in record:
        file, entry = source.entry(row["tensor"])
        for folder, key in ((source.folder, "sha256_before"), (out, "sha256")):
            data = (folder / file).read_bytes()[entry.start : entry.end]
            assert hashlib.sha256(data).hexdigest() == row[key]
    _flip("model.layers.1.mlp.down_proj.weight")(out, source)
    write_sums(out)
    assert recheck(out, None).problems == (
        "model.layers.1.mlp.down_proj.weight: its bytes are not those whose SHA-256 audit.json lists",
    )


def test_a_card_may_replace_the_readme_if_the_first_is_kept(tmp_path: Path) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"])
    (source.folder / "README.md").write_text("the base's own")
    source = open_checkpoint(source.folder)
    _, out = make_result(source, tmp_path / "out")
    (out / "README.md").rename(out / "surgery" / "base_README.md")
    (out / "README.md").write_text("a card")
    write_sums(out)
    assert recheck(out, source.folder).problems == ()
    (out / "surgery" / "base_README.md").write_text("changed")
    write_sums(out)
    assert recheck(out, source.folder).problems == ("surgery/base_README.md: is not the base's README.md",)


def _flip(place: str) -> Callable[[Path, Checkpoint], None]:
    def change(out: Path, source: Checkpoint) -> None:
        file, entry = source.entry(place)
        data = bytearray((out / file).read_bytes())
        data[entry.start + 101] ^= 0x10
        (out / file).write_bytes(data)

    return change


def _edit_record(name: str, change: Callable[[Any], None]) -> Callable[[Path, Checkpoint], None]:
    def rewrite(out: Path, _: Checkpoint) -> None:
        path = out / "surgery" / name
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    return rewrite


def _claim_half(record: Any) -> None:
    for edit in record["edits"]:
        edit["directions"][0]["strength"] = 0.5


CHANGES: dict[str, tuple[Callable[[Path, Checkpoint], None], str]] = {
    "an edited tensor": (_flip("model.layers.0.mlp.down_proj.weight"), "steps away from the exact result"),
    "a tensor outside the plan": (
        _flip("model.layers.0.mlp.up_proj.weight"),
        "which the plan does not touch",
    ),
    "a side file": (lambda out, _: (out / "LICENSE").unlink() or None, "LICENSE: is missing in the result"),
    "the index": (
        lambda out, _: (out / "model.safetensors.index.json").write_text("{}") and None,
        "has no weight_map",
    ),
    "the strength in the record": (_edit_record("plan.json", _claim_half), "instead of 0.5"),
    "the place in the record": (
        _edit_record("plan.json", lambda record: record["edits"][0].update(shape=[1])),
        "another checkpoint",
    ),
    "the axis in the record": (
        _edit_record("plan.json", lambda record: record["edits"][1].update(residual_axis=7)),
        "do not fit its axis 7",
    ),
    "the hash of a tensor in the record": (
        _edit_record("audit.json", lambda record: record["tensors"][3].update(sha256="0" * 64)),
        "its bytes are not those whose SHA-256 audit.json lists",
    ),
    "no hash in the record": (
        _edit_record("audit.json", lambda record: record["tensors"][3].pop("sha256")),
        "is not an audit of this version",
    ),
    "a missing key": (
        _edit_record("plan.json", lambda record: record.pop("edits")),
        "is not a plan of this version",
    ),
    "an unknown gain": (
        _edit_record("plan.json", lambda record: record["edits"][0].update(gain={"norm": "x"})),
        "is not a plan of this version",
    ),
    "the leak in the record": (
        _edit_record("audit.json", lambda record: record["tensors"][3].update(leak=0.0)),
        "where audit.json says 0.0",
    ),
    "a tensor that the record leaves out": (
        _edit_record("audit.json", lambda record: record["tensors"].pop(3)),
        "is edited by the plan, and audit.json does not list it",
    ),
    "no audit": (
        lambda out, _: (out / "surgery" / "audit.json").unlink() or None,
        "audit.json: is missing",
    ),
    "a tensor that nobody has": (
        _edit_record("audit.json", lambda record: record["tensors"][3].update(tensor="ghost")),
        "has no tensor 'ghost'",
    ),
    "the bytes in the record": (
        _edit_record("plan.json", lambda record: record["edits"][0]["bytes"].__setitem__(1, 3)),
        "to 3, but",
    ),
    "an edit twice": (
        _edit_record("plan.json", lambda record: record["edits"].append(record["edits"][0])),
        "edits one tensor twice",
    ),
    "a direction that nobody has": (
        _edit_record("plan.json", lambda record: record["edits"][0]["directions"][0].update(name="zz")),
        "is not a plan of this version (KeyError: 'zz')",
    ),
    "the rounding": (
        _edit_record("plan.json", lambda record: record.update(rounding=["up"])),
        "is not a plan of this version (ValueError: rounding ['up'])",
    ),
    "the stretch": (
        _edit_record("plan.json", lambda record: record["edits"][0].update(stretch="far")),
        "is not a plan of this version",
    ),
    "scales of a matrix that has none": (
        _edit_record(
            "plan.json",
            lambda record: record["edits"][0].update(scale={"tensor": "lm_head.weight", "block": ["a", 1]}),
        ),
        "the scales of",
    ),
    "a gain that is none": (
        _edit_record(
            "plan.json",
            lambda record: record["edits"][-1]["gain"].update(tensor="model.layers.0.mlp.down_proj.weight"),
        ),
        "model.layers.0.mlp.down_proj.weight does not stand behind",
    ),
    "code beside the weights": (
        lambda out, _: (out / "modeling_evil.py").write_text("import os") and None,
        "modeling_evil.py: is not in the source",
    ),
    "an adapter beside the weights": (
        lambda out, _: (out / "adapter_model.safetensors").write_bytes(b"x") and None,
        "adapter_model.safetensors: is not in the source",
    ),
    "the direction": (
        _edit_record("plan.json", lambda record: record["directions"]["r0"].update(sha256="0" * 64)),
        "is not the one that the plan was made with",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_each_change_is_named_even_where_the_sums_were_made_to_fit(
    source: Checkpoint, tmp_path: Path, kind: str
) -> None:
    _, out = make_result(source, tmp_path / "out")
    change, said = CHANGES[kind]
    change(out, source)
    assert any("SHA256SUMS" in problem for problem in recheck(out, source.folder).problems)
    write_sums(out)
    problems = recheck(out, source.folder).problems
    assert problems and said in "\n".join(problems)


def test_another_base_is_noticed(source: Checkpoint, tmp_path: Path) -> None:
    _, out = make_result(source, tmp_path / "out")
    shutil.copytree(source.folder, tmp_path / "other")
    for place in ("model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"):
        _flip(place)(tmp_path / "other", source)
    problems = recheck(out, tmp_path / "other").problems
    assert len(problems) == 3
    assert any("the base's bytes are not those whose SHA-256" in problem for problem in problems)
    assert any("which the plan does not touch" in problem for problem in problems)
    assert any("steps away" in problem for problem in problems)


def test_a_result_can_be_edited_again(source: Checkpoint, tmp_path: Path) -> None:
    """Its own list of sums is then a file of the base, and the next one takes its place."""
    _, first = make_result(source, tmp_path / "first")
    _, second = make_result(open_checkpoint(first), tmp_path / "second", [Ablate(ablate="r1")])
    assert recheck(second, first).problems == ()


def test_what_is_no_result_or_no_base_is_said(source: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="has no surgery/ record"):
        recheck(source.folder, None)
    _, out = make_result(source, tmp_path / "out")
    with pytest.raises(SourceError, match=r"^base .*does not exist"):
        recheck(out, tmp_path / "nowhere")
    (out / "SHA256SUMS").unlink()
    assert "SHA256SUMS: cannot be read" in recheck(out, source.folder).problems[0]
    (out / "surgery" / "report.json").write_text("[]")
    with pytest.raises(SourceError, match="names no base model"):
        recorded_base(out)
    (out / "surgery" / "report.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        recorded_base(out)
