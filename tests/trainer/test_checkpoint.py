"""A run that is stopped and taken up again: the same bytes as one that never stopped."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from surgery.errors import OutputError
from trainer import loop
from trainer.checkpoint import CHECKPOINT, load_checkpoint
from trainer.config import BufferSettings, Config
from trainer.interruption import InterruptedRun, stop_on_signals
from trainer.journal import JOURNAL, lines
from trainer.reader import parse_config
from trainer.save import unfinished

RUN = """\
model: {{source: {model}}}
hook: {{layer: 1}}
data:
  train: [{{source: texts.jsonl}}]
  held_out: [{{source: texts.jsonl, count: 5}}]
  context: 16
  batch: 4
dictionary: {{architecture: {architecture}, features: 40, {numbers}}}
buffer: {{capacity: 64}}
training: {{steps: 20, batch: 16, learning_rate: 1.0e-3, warmup: 2, log_every: 4, dead_after: 32}}
"""
TEXTS = [
    f"how do i {verb} the {thing}" for verb in ("fix", "water", "sing") for thing in ("lamp", "plant", "one")
]


def _config(folder: Path, model: Path, architecture: str = "batchtopk", numbers: str = "k: 3") -> Config:
    (folder / "texts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS))
    return parse_config(RUN.format(model=model, architecture=architecture, numbers=numbers), "run.yaml")


def _after(steps: int) -> Callable[[], bool]:
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= steps


@pytest.mark.usefixtures("orbax")
@pytest.mark.parametrize(
    ("architecture", "numbers", "capacity", "momentum"),
    [
        ("batchtopk", "k: 3", 64, 0.0),
        ("relu", "coefficient: 1.0e-3", 64, 0.9),
        ("topk", "k: 3", 4096, 0.0),
    ],
    ids=["batchtopk, streaming", "relu with momentum, streaming", "topk, all data held"],
)
def test_ten_steps_and_ten_more_are_twenty(
    tmp_path: Path, model_folder: Path, architecture: str, numbers: str, capacity: int, momentum: float
) -> None:
    config = _config(tmp_path, model_folder, architecture, numbers)
    training = config.training.model_copy(update={"momentum": momentum})
    config = config.model_copy(update={"buffer": BufferSettings(capacity=capacity), "training": training})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    loop.fit(config, whole, base=tmp_path)
    with pytest.raises(InterruptedRun, match=r"after step 10.*--resume"):
        loop.fit(config, parts, base=tmp_path, stop=_after(10))
    assert not parts.exists() and (tmp_path / "parts.partial" / CHECKPOINT).is_dir()
    loop.fit(config, parts, base=tmp_path, resume=True)
    for name in ("sae_weights.safetensors", "sparsity.safetensors", "cfg.json", "metrics.json", "README.md"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    lines = [
        [json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (whole, parts)
    ]
    for line in (*lines[0], *lines[1]):
        del line["seconds"]
    assert lines[0] == lines[1] and [line["step"] for line in lines[0]] == [4, 8, 12, 16, 20]
    assert not (parts / CHECKPOINT).exists()


@pytest.mark.usefixtures("orbax")
def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path, model_folder: Path) -> None:
    config = _config(tmp_path, model_folder)
    saving = config.model_copy(update={"training": config.training.model_copy(update={"save_every": 6})})
    loop.fit(saving, tmp_path / "whole", base=tmp_path)

    def killed() -> bool:
        if next(count) == 15:
            raise KeyboardInterrupt
        return False

    count = iter(range(1, 1000))
    with pytest.raises(KeyboardInterrupt):
        loop.fit(saving, tmp_path / "killed", base=tmp_path, stop=killed)
    begun = load_checkpoint(tmp_path / "killed.partial", saving)
    assert begun is not None and begun.step == 12
    loop.fit(saving, tmp_path / "killed", base=tmp_path, resume=True)
    whole, again = (load_file(tmp_path / name / "sae_weights.safetensors") for name in ("whole", "killed"))
    assert all((whole[name] == again[name]).all() for name in whole)


def test_resume_without_anything_begins(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / JOURNAL).write_text('{"step": 4, "loss": 7.0}\n')  # killed without saving
    loop.fit(_config(tmp_path, model_folder), tmp_path / "out", base=tmp_path, resume=True)
    assert (tmp_path / "out" / "cfg.json").is_file()
    assert [line["step"] for line in lines(tmp_path / "out")] == [4, 8, 12, 16, 20]


@pytest.mark.usefixtures("orbax")
def test_checkpoint_of_another_config_or_no_checkpoint_is_refused(tmp_path: Path, model_folder: Path) -> None:
    config, out = _config(tmp_path, model_folder), tmp_path / "out"
    with pytest.raises(InterruptedRun):
        loop.fit(config, out, base=tmp_path, stop=_after(3))
    with pytest.raises(OutputError, match=r"belongs to another config \(seed was 0, is 9\)"):
        loop.fit(config.model_copy(update={"seed": 9}), out, base=tmp_path, resume=True)
    with pytest.raises(OutputError, match="holds an unfinished run"):
        loop.fit(config, out, base=tmp_path)
    watched = config.training.model_copy(update={"log_every": 1, "save_every": 7})
    begun = load_checkpoint(tmp_path / "out.partial", config.model_copy(update={"training": watched}))
    assert begun is not None and begun.step == 3  # what the steps do not depend on may change
    (facts,) = (tmp_path / "out.partial" / CHECKPOINT).glob("3/facts/metadata")
    facts.write_text("{")
    with pytest.raises(OutputError, match="not a checkpoint"):
        loop.fit(config, out, base=tmp_path, resume=True)


@pytest.mark.usefixtures("orbax")
def test_a_disk_too_full_for_a_checkpoint_is_told(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise ValueError('RESOURCE_EXHAUSTED: Error writing "a": No space left on device')

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", full)
    with pytest.raises(
        OutputError,
        match="cannot be written: No space left on device; free some space and go on with --resume",
    ):
        loop.fit(_config(tmp_path, model_folder), tmp_path / "out", base=tmp_path, stop=lambda: True)


def test_a_missing_orbax_is_told_before_the_first_step(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    config = _config(tmp_path, model_folder)
    saving = config.model_copy(update={"training": config.training.model_copy(update={"save_every": 6})})
    with pytest.raises(OutputError, match=r"pip install 'surgery\[trainer\]'"):
        loop.fit(saving, tmp_path / "out", base=tmp_path)
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.usefixtures("orbax")
def test_a_run_that_ends_on_a_full_disk_is_finished_by_resuming(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(tmp_path, model_folder)
    saving = config.model_copy(update={"training": config.training.model_copy(update={"save_every": 15})})
    loop.fit(saving, tmp_path / "whole", base=tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(loop, "write_json", full)
        with pytest.raises(
            OutputError,
            match=r"No space left on device; free some space and run it again, .fit. with --resume",
        ):
            loop.fit(saving, tmp_path / "out", base=tmp_path)
    begun = load_checkpoint(tmp_path / "out.partial", saving)
    assert begun is not None and begun.step == 20
    loop.fit(saving, tmp_path / "out", base=tmp_path, resume=True)
    for name in ("sae_weights.safetensors", "metrics.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not (tmp_path / "out" / CHECKPOINT).exists()


@pytest.mark.usefixtures("orbax")
def test_whatever_fails_at_the_end_no_dictionary_is_trained_again(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(tmp_path, model_folder)
    saving = config.model_copy(update={"training": config.training.model_copy(update={"save_every": 15})})
    runs = {tmp_path / name: saving for name in ("first", "second")}
    write = loop.write_dictionary

    def full(folder: Path, *rest: Any) -> None:
        if folder.name == "second.partial":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "write_dictionary", full)
        with pytest.raises(OutputError, match="free some space"):
            loop.fit_several(runs, base=tmp_path)
    for out in runs:
        begun = load_checkpoint(unfinished(out), saving)
        assert begun is not None and begun.step == 20
    loop.fit_several(runs, base=tmp_path, resume=True)
    assert not any((out / CHECKPOINT).exists() for out in runs)


def test_first_signal_is_noted_and_handlers_return() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        assert signal.getsignal(signal.SIGTERM) == before  # nothing to save until the run asks
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert signal.getsignal(signal.SIGTERM) == before  # a second one would end the process
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("orbax")
def test_sigterm_saves_and_says_how_to_go_on(tmp_path: Path, model_folder: Path) -> None:
    _config(tmp_path, model_folder)
    text = RUN.format(model=model_folder, architecture="topk", numbers="k: 3").replace(
        "steps: 20", "steps: 1000000"
    )
    (tmp_path / "run.yaml").write_text(text)
    command = [
        sys.executable,
        "-c",
        "from trainer.cli import main; main()",
        "fit",
        "run.yaml",
        "--out",
        "out",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(1200):
            if (tmp_path / "out.partial" / "metrics.jsonl").is_file():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1 and "go on with --resume" in told
    assert (tmp_path / "out.partial" / CHECKPOINT).is_dir()
