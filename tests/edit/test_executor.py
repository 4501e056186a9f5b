"""Execution: only the plan changes, whatever the layout, the type, the threads; failures leave nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

from surgery.checkpoint.folder import new_folder
from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.edit import executor, spans, tiles
from surgery.edit.executor import execute
from surgery.edit.plan import Plan, TensorEdit, make_plan
from surgery.errors import EditError, OutputError, SurgeryError
from surgery.linalg.projection import orthonormal_basis, project, transport
from surgery.recipe.editing import Ablate
from tests.edit.edit_sources import anatomy_of, contents, make_source, plan_for, run, write_weights
from tests.model.family_configs import CONFIGS

TYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


@pytest.fixture
def source(tmp_path: Path) -> Checkpoint:
    return make_source(tmp_path / "source", CONFIGS["llama tied, biases"], dtype=torch.bfloat16, shards=2)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles and copies so small that every tensor takes several."""
    monkeypatch.setattr(tiles, "TILE_ELEMENTS", 150)
    monkeypatch.setattr(tiles, "STRIP_ELEMENTS", 200)
    monkeypatch.setattr(spans, "COPY_BYTES", 1000)


def _span(edit: TensorEdit) -> slice:
    return slice(edit.start, edit.end)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_only_planned_bytes_change(tmp_path: Path, shards: int, dtype: str, rounding: Any) -> None:
    source = make_source(tmp_path / "s", CONFIGS["gemma2 bias, untied"], dtype=TYPES[dtype], shards=shards)
    plan = plan_for(source, rounding=rounding)
    before = contents(source.folder)
    run(plan, source, tmp_path / "out")
    after = contents(tmp_path / "out")
    assert before == contents(source.folder)
    assert set(before) == set(after)
    for edit in plan.edits:
        assert before[edit.file][_span(edit)] != after[edit.file][_span(edit)]
    for name, data in before.items():
        kept = bytearray(after[name])
        for edit in (each for each in plan.edits if each.file == name):
            kept[_span(edit)] = data[_span(edit)]
        assert bytes(kept) == data, name


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("name", ["llama tied, biases", "gemma2", "gemma3"])
@pytest.mark.parametrize("dtype", TYPES)
def test_tiles_equal_the_plain_projection(tmp_path: Path, name: str, dtype: str) -> None:
    source = make_source(tmp_path / "s", CONFIGS[name], dtype=TYPES[dtype])
    steps = [Ablate(ablate="r0", strength=0.7), Ablate(ablate="r1", strength=-1.5)]
    plan = plan_for(source, steps)
    edited = run(plan, source, tmp_path / "out")
    for edit in plan.edits:
        rows = [plan.vectors[each] for each in edit.directions]
        if edit.gain is not None:
            gain = edit.gain.offset + read_tensor(source, edit.gain.tensor, torch.float64).numpy()
            rows = [transport(row, gain) for row in rows]
        base = read_tensor(source, edit.tensor, None)
        wanted = project(base, orthonormal_basis(rows), edit.strengths, residual_axis=edit.residual_axis)
        got = read_tensor(edited, edit.tensor, None)
        step = torch.finfo(base.dtype).eps
        torch.testing.assert_close(got, wanted, rtol=2 * step, atol=max(1e-12, 1e-6 * (dtype != "F64")))


@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_bytes_depend_on_no_thread_count(source: Checkpoint, tmp_path: Path, rounding: Any) -> None:
    plan = plan_for(source, rounding=rounding)
    threads = torch.get_num_threads()
    results = []
    try:
        for number, (workers, count) in enumerate([(1, 1), (4, 1), (2, 3)]):
            torch.set_num_threads(count)
            run(plan, source, tmp_path / str(number), workers=workers)
            results.append(contents(tmp_path / str(number)))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert results[0] == results[1] == results[2]


def test_lowered_matmul_precision_changes_nothing(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    run(plan, source, tmp_path / "a")
    torch.set_float32_matmul_precision("medium")
    try:
        run(plan, source, tmp_path / "b")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_strength_zero_gives_the_same_bytes(source: Checkpoint, tmp_path: Path) -> None:
    run(plan_for(source, [Ablate(ablate="r0", strength=0.0)]), source, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(source.folder)


def test_links_become_files(source: Checkpoint, tmp_path: Path) -> None:
    linked = tmp_path / "snapshot"
    for path in source.folder.rglob("*"):
        if path.is_file():
            link = linked / path.relative_to(source.folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    checkpoint = open_checkpoint(linked)
    run(plan_for(checkpoint), checkpoint, tmp_path / "out")
    run(plan_for(source), source, tmp_path / "plain")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_modes_follow_the_umask(source: Checkpoint, tmp_path: Path, mask: int, mode: int) -> None:
    old = os.umask(mask)
    try:
        with new_folder(tmp_path / "out", needed_bytes=1) as staging:
            execute(plan_for(source), source, staging)
    finally:
        os.umask(old)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}


def test_the_source_is_opened_for_reading_only(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, int]] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags, *more: opened.append((str(path), flags)) or real(path, flags, *more)
    )
    run(plan_for(source), source, tmp_path / "out")
    mine = [flags for path, flags in opened if path.startswith(str(source.folder))]
    assert mine and not [
        flags for flags in mine if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    ]


def test_every_file_is_hashed_as_written(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    (tmp_path / "out").mkdir()
    seen: list[tuple[int, int]] = []
    done = execute(
        plan, source, tmp_path / "out", progress=lambda so_far, total: seen.append((so_far, total))
    )
    assert done == {
        name: hashlib.sha256(data).hexdigest() for name, data in contents(tmp_path / "out").items()
    }
    headers = sum(len(header.raw) for header in source.headers.values())
    assert seen[-1] == (plan.total_bytes - headers,) * 2
    assert [so_far for so_far, _ in seen] == sorted(so_far for so_far, _ in seen)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("tensor", ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"])
def test_a_damaged_tensor_is_named(tmp_path: Path, bad: float, tensor: str) -> None:
    source = make_source(tmp_path / "s", CONFIGS["llama"])
    tensors = {name: read_tensor(source, name) for name in source.tensors}
    tensors[tensor][3, 5] = bad
    write_weights(tmp_path / "s", tensors)
    source = open_checkpoint(tmp_path / "s")
    with pytest.raises(EditError, match=f"'{tensor}' holds a NaN or an infinity"):
        run(plan_for(source), source, tmp_path / "out")


def test_dependent_directions_are_named(source: Checkpoint, tmp_path: Path) -> None:
    one = np.arange(1.0, 33)
    steps = [Ablate(ablate="one"), Ablate(ablate="same")]
    plan = make_plan(source, anatomy_of(source), steps, {"one": one, "same": -2 * one})
    with pytest.raises(EditError, match="direction 'same' lies in the span of one"):
        run(plan, source, tmp_path / "out")


def test_the_result_may_not_lie_in_the_source_nor_on_old_files(source: Checkpoint, tmp_path: Path) -> None:
    (source.folder / "out").mkdir()
    with pytest.raises(OutputError, match="lies inside the source"):
        execute(plan_for(source), source, source.folder / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(OutputError, match="must be an empty folder"):
        execute(plan_for(source), source, tmp_path / "full")


def _publish(plan: Plan, source: Checkpoint, target: Path, **options: Any) -> None:
    with new_folder(target, needed_bytes=plan.total_bytes) as staging:
        execute(plan, source, staging, **options)


def _raise(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["pwrite", "truncate", "copy_file_range", "fsync"])
def test_a_full_disk_leaves_nothing(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    plan = plan_for(source)
    monkeypatch.setattr(os, call, _raise(FULL))
    with pytest.raises(OutputError, match=r"disk is full .* are needed\. Nothing was left behind"):
        _publish(plan, source, tmp_path / "new" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_quota_of_the_kernel_leaves_nothing(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match="disk is full or a quota"):
            _publish(plan, source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("after", [1, 5, 20])
def test_an_interrupt_in_the_middle_leaves_nothing(source: Checkpoint, tmp_path: Path, after: int) -> None:
    calls: list[int] = []

    def interrupt(done: int, _: int) -> None:
        calls.append(done)
        if len(calls) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _publish(plan_for(source), source, tmp_path / "out", progress=interrupt)
    assert len(calls) == after
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_failure_in_a_worker_stops_the_others(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    broken: list[str] = []
    real = executor.project_tensor

    def failing(edit: TensorEdit, *rest: Any, **options: Any) -> None:
        if edit.tensor.endswith("0.mlp.down_proj.weight"):
            broken.append(edit.tensor)
            raise EditError("broken")
        if broken:  # leave the thread that stops the others its time, on a machine however loaded
            time.sleep(0.2)
        done.append(edit.tensor)
        real(edit, *rest, **options)

    monkeypatch.setattr(executor, "project_tensor", failing)
    with pytest.raises(EditError, match="broken"):
        _publish(plan_for(source), source, tmp_path / "out", workers=1)
    assert len(done) < len(plan_for(source).edits) - 1
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_source_that_shrank_is_noticed(source: Checkpoint, tmp_path: Path) -> None:
    path = source.folder / next(iter(source.headers))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(SurgeryError, match="became shorter"):
        run(plan_for(source), source, tmp_path / "out")


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_three_axes_are_projected_along_the_one_that_is_named(
    tmp_path: Path, axis: int, rounding: Any
) -> None:
    shape = [6, 5, 7]
    shape[axis] = 32
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    experts = torch.randn(shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    write_weights(folder, {"experts": experts, "rest": torch.zeros(3)})
    source = open_checkpoint(folder)
    file, entry = source.entry("experts")
    edit = TensorEdit(
        file=file,
        tensor="experts",
        role="mlp_out",
        layer=0,
        residual_axis=axis,
        dtype="BF16",
        shape=entry.shape,
        start=entry.start,
        end=entry.end,
        gain=None,
        bias=False,
        why="",
        directions=("r",),
        strengths=(1.0,),
    )
    direction = np.random.default_rng(0).standard_normal(32)
    direction /= np.linalg.norm(direction)
    plan = Plan((edit,), {"r": direction}, rounding, (), source.total_bytes, entry.n_bytes)
    got = read_tensor(run(plan, source, tmp_path / "out"), "experts", None)
    wanted = project(experts.float(), direction[None], [1.0], residual_axis=axis)
    step = torch.finfo(torch.bfloat16).eps * wanted.abs() + 1e-6
    assert bool(((got.float() - wanted).abs() <= step * (0.5 if rounding == "nearest" else 2)).all())


def test_a_plan_without_hashes_says_so(source: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    plan = replace(plan_for(source), rounding="nearest")
    done = execute(plan, source, tmp_path / "out", hashes=False)
    assert set(done.values()) == {None}
