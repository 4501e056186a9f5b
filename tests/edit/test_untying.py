"""A tied model gets an unembedding of its own: stock transformers loads it, and it unembeds as before."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.staging import resumable_folder
from surgery.checkpoint.tensor import read_tensor
from surgery.compare.diff import compare_checkpoints
from surgery.edit import spans, tiles
from surgery.edit.audit import audit
from surgery.edit.executor import execute
from surgery.edit.identity import work_identity
from surgery.edit.plan import plan_edit
from surgery.edit.proof import prove
from surgery.edit.recheck import recheck
from surgery.errors import EditError
from surgery.model.loading import auto_class, quiet_transformers
from surgery.recipe.editing import Ablate, Edit
from tests.edit.edit_sources import (
    anatomy_of,
    contents,
    directions,
    make_source,
    plan_for,
    run,
    write_weights,
)
from tests.edit.results import make_result
from tests.model.family_configs import CONFIGS

EMBEDDING, UNEMBEDDING = "model.embed_tokens.weight", "lm_head.weight"


def _source(folder: Path, name: str = "llama tied, biases", **options: Any) -> Checkpoint:
    return make_source(folder, CONFIGS[name], **options)


def _load(folder: Path) -> Any:
    with quiet_transformers():
        kind = auto_class(open_checkpoint(folder).config)
        network, told = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]
    return network.eval()


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_result_reloads_and_unembeds_as_before(tmp_path: Path, shards: int, dtype: torch.dtype) -> None:
    source = _source(tmp_path / "s", dtype=dtype, shards=shards)
    plan = plan_for(source, tied="untie")
    result = run(plan, source, tmp_path / "out")
    assert torch.equal(read_tensor(result, UNEMBEDDING, None), read_tensor(source, EMBEDDING, None))
    base, network, tied = (
        _load(folder) for folder in (source.folder, result.folder, _tied(source, tmp_path / "tied"))
    )
    tokens = torch.arange(12)[None] + 5
    with torch.no_grad():
        hidden = network.model(tokens).last_hidden_state
        logits = network(tokens).logits
        assert torch.equal(logits, hidden @ base.lm_head.weight.T)
        assert torch.equal(hidden, tied.model(tokens).last_hidden_state)
        assert float((logits - tied(tokens).logits).abs().max()) > 1e-2
    assert not network.config.tie_word_embeddings


def _tied(source: Checkpoint, folder: Path) -> Path:
    return run(plan_for(source), source, folder).folder


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int, rounding: Any
) -> None:
    monkeypatch.setattr(tiles, "TILE_ELEMENTS", 150)
    monkeypatch.setattr(spans, "COPY_BYTES", 1000)
    source = _source(tmp_path / "s", dtype=torch.bfloat16, shards=shards)
    plan = plan_for(source, tied="untie", rounding=rounding)
    result = run(plan, source, tmp_path / "out")
    accepted = run(plan_for(source, rounding=rounding), source, tmp_path / "accepted")
    assert set(result.tensors) == {*source.tensors, UNEMBEDDING}
    for name in source.tensors:
        assert torch.equal(read_tensor(result, name, None), read_tensor(accepted, name, None)), name
    old, new = contents(source.folder), contents(result.folder)
    weights = {name for name, header in source.headers.items() if EMBEDDING not in header.tensors}
    changed = {name for name in old if old[name] != new[name]}
    assert not changed & (set(source.side_files) - {"config.json", "model.safetensors.index.json"})
    for name in weights:
        assert result.headers[name].raw == source.headers[name].raw
    found = audit(plan, source, result)
    assert found.problems == () and found.untouched_identical and len(found.rows) == len(plan.edits)
    file = plan.untying.file if plan.untying else ""
    assert result.headers[file].metadata == source.headers[file].metadata
    with safe_open(result.folder / file, "pt") as opened:
        assert UNEMBEDDING in opened.keys()  # noqa: SIM118
    assert plan.total_bytes - source.total_bytes == sum(
        len(new[name]) - len(old[name]) for name in source.headers
    )


def test_config_and_index_say_so_and_nothing_else(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", shards=2)
    index = json.loads((source.folder / "model.safetensors.index.json").read_text())
    index["metadata"] = {"total_size": 100, "total_parameters": 7, "note": "kept"}
    (source.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    source = open_checkpoint(source.folder)
    result = run(plan_for(source, tied="untie"), source, tmp_path / "out")
    entry = source.tensors[EMBEDDING]
    assert dict(result.config) == {**source.config, "tie_word_embeddings": False}
    found = json.loads((result.folder / "model.safetensors.index.json").read_text())["metadata"]
    assert found == {
        "total_size": 100 + entry.n_bytes,
        "total_parameters": 7 + entry.shape[0] * 32,
        "note": "kept",
    }
    before = (source.folder / "config.json").read_text().splitlines()
    after = (result.folder / "config.json").read_text().splitlines()
    assert [line for line in after if line not in before] == ['  "tie_word_embeddings": false,']


def test_a_config_with_an_infinity_is_untied_too(tmp_path: Path) -> None:
    """As Mamba-2 has one; the rest of its text stays as it is."""
    source = _source(tmp_path / "s")
    path = source.folder / "config.json"
    path.write_text(path.read_text().replace("{", '{\n  "limit": [0.0, {"__float__": "Infinity"}],', 1))
    source = open_checkpoint(source.folder)
    result = run(plan_for(source, tied="untie"), source, tmp_path / "out")
    assert result.config == {**source.config, "tie_word_embeddings": False}
    assert '"__float__": "Infinity"' in (result.folder / "config.json").read_text()


def test_copies_that_both_stand_on_disk_are_told_apart(tmp_path: Path) -> None:
    source = _source(tmp_path / "s")
    tensors = {name: read_tensor(source, name) for name in source.tensors}
    write_weights(tmp_path / "s", tensors | {UNEMBEDDING: tensors[EMBEDDING].clone()})
    source = open_checkpoint(tmp_path / "s")
    plan = plan_for(source, tied="untie")
    assert [edit.tensor for edit in plan.edits if edit.role == "embedding"] == [EMBEDDING]
    result = run(plan, source, tmp_path / "out")
    assert torch.equal(read_tensor(result, UNEMBEDDING), read_tensor(source, UNEMBEDDING))
    assert result.headers["model.safetensors"].raw == source.headers["model.safetensors"].raw
    assert not _load(result.folder).config.tie_word_embeddings
    assert audit(plan, source, result).problems == ()
    write_weights(tmp_path / "s", tensors | {UNEMBEDDING: tensors[EMBEDDING] + 1})
    source = open_checkpoint(tmp_path / "s")
    differ = r"lm_head\.weight: differs from model.embed_tokens.weight"
    with pytest.raises(EditError, match=differ):
        plan_for(source, tied="untie")
    for tied, outcome in (("accept", pytest.raises(EditError, match=differ)), ("skip", nullcontext())):
        with outcome:
            plan_edit(source, anatomy_of(source), Edit(steps=[Ablate(ablate="r0")], tied=tied), directions(1))


def test_an_embedding_that_no_step_reaches_stays_tied(tmp_path: Path) -> None:
    source = _source(tmp_path / "s")
    plan = plan_for(source, [Ablate(ablate="r0", writers=["mlp_out"])], tied="untie")
    assert plan.untying is None
    result = run(plan, source, tmp_path / "out")
    assert UNEMBEDDING not in result.tensors and result.config["tie_word_embeddings"]


def test_an_embedding_under_the_name_of_the_unembedding_is_refused(tmp_path: Path) -> None:
    source = _source(tmp_path / "s")
    tensors = {name: read_tensor(source, name) for name in source.tensors}
    tensors[UNEMBEDDING] = tensors.pop(EMBEDDING)
    write_weights(tmp_path / "s", tensors)
    with pytest.raises(EditError, match="cannot be untied; use `tied: accept` or `tied: skip`"):
        plan_for(open_checkpoint(tmp_path / "s"), tied="untie")


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "COPY_BYTES", 1000)
    source = _source(tmp_path / "s", dtype=torch.bfloat16, shards=2)
    plan = plan_for(source, tied="untie")
    wanted = contents(run(plan, source, tmp_path / "whole").folder)
    identity, target, steps = work_identity(plan, source), tmp_path / "out", 0
    for limit in range(0, 10**9, 7):
        seen = 0

        def stop(done: int, total: int, limit: int = limit) -> None:
            nonlocal seen
            seen += 1
            if seen > limit:
                raise KeyboardInterrupt

        try:
            with resumable_folder(
                target, needed_bytes=plan.total_bytes, identity=identity, resume=limit > 0
            ) as staging:
                execute(plan, source, staging.folder, journal=staging.journal, progress=stop, workers=1)
            break
        except KeyboardInterrupt:
            steps += 1
    assert steps >= 2 and contents(target) == wanted


def test_the_record_is_checked_with_and_without_the_base(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", dtype=torch.bfloat16, shards=2)
    plan, out = make_result(source, tmp_path / "out", tied="untie")
    assert recheck(out, source.folder).problems == () and recheck(out, None).problems == ()
    assert plan.untying is not None
    file, entry = open_checkpoint(out).entry(UNEMBEDDING)
    data = bytearray((out / file).read_bytes())
    data[entry.start] ^= 1
    (out / file).write_bytes(data)
    problems = recheck(out, source.folder).problems
    assert any("which the plan does not touch" in problem for problem in problems)
    assert any(file in problem and "sha256" in problem.lower() for problem in problems)


@pytest.mark.parametrize("name", ["llama tied, biases", "gemma2", "gemma3"])
def test_the_twin_proves_it(name: str) -> None:
    assert prove({**CONFIGS[name], "tie_word_embeddings": True}, untie=True).exact


def test_an_unembedding_under_a_name_that_no_loader_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surgery.model.anatomy._unembedding", lambda *_: "other_head.weight")
    proof = prove(CONFIGS["llama tied, biases"], untie=True)
    assert not proof.exact and proof.unproved == ("unembedding of its own that transformers would load",)


def test_a_diff_tells_the_untying_from_the_edit(tmp_path: Path) -> None:
    source = _source(tmp_path / "s", dtype=torch.bfloat16)
    result = run(plan_for(source, tied="untie"), source, tmp_path / "out")
    verdict = compare_checkpoints(source, result).verdict
    kinds = {part.kind: part for part in verdict.parts}
    assert kinds["untied_embedding"].tensors == (UNEMBEDDING,)
    assert set(kinds) == {"untied_embedding", "ablation"} and kinds["ablation"].effect == "removed"
    file, entry = result.entry(UNEMBEDDING)
    data = bytearray((result.folder / file).read_bytes())
    data[entry.start] ^= 1
    (result.folder / file).write_bytes(data)
    verdict = compare_checkpoints(source, open_checkpoint(result.folder)).verdict
    assert {part.kind for part in verdict.parts} == {"ablation", "unknown"}


def test_the_bytes_do_not_depend_on_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "COPY_BYTES", 1000)
    source = _source(tmp_path / "s", dtype=torch.bfloat16, shards=2)
    plan = plan_for(source, tied="untie")
    results = [run(plan, source, tmp_path / str(n), workers=n) for n in (1, 4)]
    assert contents(results[0].folder) == contents(results[1].folder)
    (tmp_path / "h").mkdir()
    said = execute(plan, source, tmp_path / "h")
    for name, content in contents(tmp_path / "h").items():
        assert said[name] == hashlib.sha256(content).hexdigest(), name
