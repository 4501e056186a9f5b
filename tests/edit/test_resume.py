"""Killed at any moment and gone on with, a run writes the bytes of one that nobody touched."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from surgery.checkpoint.header import read_header
from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.staging import resumable_folder, unfinished
from surgery.edit import executor
from surgery.edit.executor import execute
from surgery.edit.identity import work_identity
from surgery.edit.plan import Plan
from surgery.errors import CheckpointError, EditError, OutputError
from tests.edit.edit_sources import contents, make_source, plan_for, run
from tests.model.family_configs import CONFIGS

ROOT = Path(__file__).parent.parent.parent
PAUSE = 0.0006


@pytest.fixture
def source(tmp_path: Path) -> Checkpoint:
    return make_source(tmp_path / "source", CONFIGS["llama tied, biases"], dtype=torch.bfloat16, shards=3)


class Nursery:
    """The process of `nursery.py`."""

    def __init__(self, source: Path) -> None:
        command = [sys.executable, "-m", "tests.edit.nursery", str(source), str(PAUSE)]
        paths = os.pathsep.join([str(ROOT), *sys.path])
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

        assert self._answer() == 0  # it is ready

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def write(self, target: Path, kill_after: float | None = None) -> int:
        """Let one process write; kill it after so many seconds. Its exit code, -9 if the kill met it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{target}\n")
        self._process.stdin.flush()
        child = self._answer()
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(child, signal.SIGKILL)
        return self._answer()

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def nursery(source: Checkpoint) -> Iterator[Nursery]:
    process = Nursery(source.folder)
    yield process
    process.close()


def _check_not_loadable(target: Path, reference: dict[str, bytes]) -> None:
    """Nothing under the output's name; and what stands beside it is no checkpoint, and no file of it a weight
    file, unless it is complete.
    """
    assert not target.exists()
    place = unfinished(target)
    for path in place.rglob("*.safetensors"):
        with suppress(CheckpointError):
            read_header(path)
            assert path.read_bytes() == reference[path.name]
    if place.exists():
        try:
            open_checkpoint(place)
        except CheckpointError:
            return
        assert contents(place) == reference


def _survive(nursery: Nursery, source: Checkpoint, tmp_path: Path, kills: int, rounding: str) -> None:
    plain = tmp_path / f"{rounding} plain"
    started = time.monotonic()
    assert nursery.write(plain) == 0
    seconds = time.monotonic() - started
    reference, chance, met, tries = contents(plain), random.Random(0), 0, 0
    assert set(reference) == set(contents(source.folder))
    while met < kills:
        tries += 1
        assert tries <= 10 * kills, "the runs end before they can be killed"
        target = tmp_path / f"{rounding} {tries}"
        code = nursery.write(target, kill_after=chance.uniform(0, seconds))
        if code == -signal.SIGKILL and not target.exists():
            met += 1
            _check_not_loadable(target, reference)
        else:
            seconds *= 0.95  # it came too late
        if not target.exists():
            assert nursery.write(target) == 0
        assert contents(target) == reference, tries
        assert not unfinished(target).exists()


def test_killed_runs_go_on_to_the_same_bytes(nursery: Nursery, source: Checkpoint, tmp_path: Path) -> None:
    _survive(nursery, source, tmp_path, 4, "nearest")


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["nearest", "feedback"])
def test_fifty_killed_runs_go_on_to_the_same_bytes(
    nursery: Nursery, source: Checkpoint, tmp_path: Path, rounding: str
) -> None:
    _survive(nursery, source, tmp_path, 50, rounding)


def test_killed_again_and_again_a_run_still_ends(nursery: Nursery, tmp_path: Path) -> None:
    assert nursery.write(tmp_path / "plain") == 0
    for wait in (0.03, 0.1, 0.2, 0.1):
        if nursery.write(tmp_path / "out", kill_after=wait) == 0:
            break
    if not (tmp_path / "out").exists():
        assert nursery.write(tmp_path / "out") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


def _interrupted(plan: Plan, source: Checkpoint, target: Path, *, after: int, resume: bool = False) -> None:
    """Carry a plan out and press Ctrl-C when `after` pieces are done."""
    calls: list[int] = []

    def press(*_: int) -> None:
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _carry_out(plan, source, target, resume=resume, progress=press, workers=1)


def _carry_out(
    plan: Plan, source: Checkpoint, target: Path, *, resume: bool = True, **options: object
) -> None:
    identity = work_identity(plan, source)
    with resumable_folder(target, needed_bytes=plan.total_bytes, identity=identity, resume=resume) as staging:
        execute(plan, source, staging.folder, journal=staging.journal, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [1, 6, 15])
def test_an_interrupt_keeps_what_was_written_and_the_rest_is_done(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    plan = plan_for(source)
    reference = contents(run(plan, source, tmp_path / "plain").folder)
    _interrupted(plan, source, tmp_path / "out", after=after)
    _check_not_loadable(tmp_path / "out", reference)
    edited: list[str] = []
    real = executor.project_tensor
    monkeypatch.setattr(
        executor,
        "project_tensor",
        lambda edit, *rest, **more: edited.append(edit.tensor) or real(edit, *rest, **more),
    )
    _carry_out(plan, source, tmp_path / "out")
    assert contents(tmp_path / "out") == reference
    assert len(edited) <= len(plan.edits) - (after > 1)


def _spoil(target: Path, pick: Callable[[Path], bool]) -> int:
    """Flip bytes all over every unfinished file that is picked."""
    spoilt = 0
    for path in sorted(unfinished(target).rglob("*")):
        if path.is_file() and path.stat().st_size and pick(path):
            data = bytearray(path.read_bytes())
            for place in (len(data) // 2, *range(0, len(data), 97)):
                data[place] ^= 1
            path.write_bytes(data)
            spoilt += 1
    return spoilt


@pytest.mark.parametrize("after", [3, 9, 18])
@pytest.mark.parametrize("kind", ["flipped", "shortened", "missing"])
def test_bytes_that_did_not_reach_the_disk_are_written_again(
    source: Checkpoint, tmp_path: Path, after: int, kind: str
) -> None:
    """What a power cut does: the journal knows more than the disk holds."""
    plan = plan_for(source)
    reference = contents(run(plan, source, tmp_path / "plain").folder)
    _interrupted(plan, source, tmp_path / "out", after=after)
    weights = list(unfinished(tmp_path / "out").rglob("*.safetensors"))
    assert weights
    if kind == "flipped":
        assert _spoil(tmp_path / "out", lambda path: True) >= len(weights)
    for path in weights:
        if kind == "shortened":
            os.truncate(path, path.stat().st_size // 2)
        elif kind == "missing":
            path.unlink()
    _carry_out(plan, source, tmp_path / "out")
    assert contents(tmp_path / "out") == reference


def test_files_that_are_not_part_of_the_result_are_removed(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    _interrupted(plan, source, tmp_path / "out", after=5)
    (unfinished(tmp_path / "out") / "surgery").mkdir()
    (unfinished(tmp_path / "out") / "surgery" / "report.json").write_text("half")
    _carry_out(plan, source, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(run(plan, source, tmp_path / "plain").folder)


def test_another_plan_or_source_is_refused(source: Checkpoint, tmp_path: Path) -> None:
    plan = plan_for(source)
    _interrupted(plan, source, tmp_path / "out", after=5)
    with pytest.raises(OutputError, match="begun with another plan"):
        _carry_out(plan_for(source, rounding="feedback"), source, tmp_path / "out")
    os.utime(source.folder / next(iter(source.headers)))
    with pytest.raises(OutputError, match="begun with another source"):
        _carry_out(plan, source, tmp_path / "out")


def test_a_tensor_that_cannot_be_edited_leaves_nothing_behind(
    source: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise EditError("broken")

    monkeypatch.setattr(executor, "project_tensor", broken)
    with pytest.raises(EditError, match="broken"):
        _carry_out(plan_for(source), source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_the_identity_is_of_the_content_where_that_is_known(source: Checkpoint) -> None:
    plan = plan_for(source)
    sums = dict.fromkeys(source.headers, "0" * 64)
    assert work_identity(plan, source, sums)["source"] == sums
    assert work_identity(plan, source) == work_identity(plan, open_checkpoint(source.folder))


@pytest.mark.parametrize("name", ["config.json", "LICENSE"])
def test_a_side_file_that_changed_is_not_mixed_with_the_others(source: Checkpoint, name: str) -> None:
    """Nor one of the same length: what was copied before would stay."""
    plan = plan_for(source)
    before = work_identity(plan, source)
    data = (source.folder / name).read_bytes()
    (source.folder / name).write_bytes(data.replace(b"a", b"o", 1))
    after = work_identity(plan, open_checkpoint(source.folder))
    assert [key for key in before if before[key] != after[key]] == ["side file"]


@pytest.mark.parametrize(
    ("place", "what"),
    [("_own_version", "surgery"), ("torch.backends.cpu.get_cpu_capability", "processor")],
)
def test_another_version_or_processor_is_another_work(
    source: Checkpoint, place: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their sums may differ in the last place, and the result would be of two minds."""
    plan = plan_for(source)
    before = work_identity(plan, source)
    monkeypatch.setattr(f"surgery.edit.identity.{place}", lambda: "other")
    after = work_identity(plan, source)
    assert [key for key in before if before[key] != after[key]] == [what]
