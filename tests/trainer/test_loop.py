"""Whole runs: a planted dictionary found again, the same bytes twice, and what a broken run leaves."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgery.errors import DictionaryError, OutputError, SourceError
from trainer import loop
from trainer.config import BufferSettings, Config, HookSettings, TextSource
from trainer.feed import Feed
from trainer.interruption import InterruptedRun
from trainer.journal import Progress
from trainer.kinds import (
    BatchtopkSettings,
    DictionarySettings,
    GatedSettings,
    JumpreluSettings,
    MatryoshkaSettings,
    ReluSettings,
    TopkSettings,
    TranscoderSettings,
)
from trainer.reader import parse_config, parse_configs
from trainer.streams import harvest_to_disk
from trainer.subject import harvest
from trainer.subject.model import Subject
from trainer.texts import generate
from trainer.tokens import TokenBatch
from trainer.training import DivergenceError, in_turns, start, steps

RUN = """\
model: {{source: {model}}}
hook: {{layer: 1}}
data:
  train: [{{source: texts.jsonl}}]
  held_out: [{{source: texts.jsonl, count: 5}}]
  context: 16
  batch: 4
dictionary: {{architecture: topk, features: 40, k: 3}}
buffer: {{capacity: 64}}
training: {{steps: 12, batch: 16, learning_rate: 1.0e-3, warmup: 2, log_every: 5, dead_after: 32}}
"""
TEXTS = [
    {"prompt": f"how do i {verb} the {thing}"}
    for verb in ("fix", "water", "sing")
    for thing in ("lamp", "plant", "one")
]


@pytest.fixture
def config(tmp_path: Path, model_folder: Path) -> Config:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in TEXTS))
    return parse_config(RUN.format(model=model_folder), "run.yaml")


def _planted_run(rows: np.ndarray, settings: DictionarySettings, **training: object) -> Config:
    run = parse_config(RUN.format(model="unused"), "run.yaml")
    changed = run.training.model_copy(update={"batch": 256, "log_every": 100, "warmup": 50, **training})
    buffer = BufferSettings(capacity=len(rows) + 1)
    return run.model_copy(update={"dictionary": settings, "training": changed, "buffer": buffer})


def _feed(rows: np.ndarray, run: Config) -> Feed:
    def one_pass(_: int, start: int) -> Iterator[tuple[jax.Array, np.ndarray]]:
        if start == 0:
            yield jnp.asarray(rows), np.ones(len(rows), bool)

    feed = Feed(one_pass, run.buffer)
    list(feed.filling())
    return feed


def _mean_max_cosine(atoms: np.ndarray, decoder: np.ndarray) -> float:
    unit = decoder / np.linalg.norm(decoder, axis=1, keepdims=True)
    return float((atoms @ unit.T).max(1).mean())


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        (TopkSettings(architecture="topk", features=32, k=3), 0.95),
        (ReluSettings(architecture="relu", features=32, coefficient=0.01), 0.93),
        (GatedSettings(architecture="gated", features=32, coefficient=0.02), 0.95),
        (
            JumpreluSettings(
                architecture="jumprelu", features=32, coefficient=0.3, bandwidth=1.0, threshold=0.3
            ),
            0.95,
        ),
        (BatchtopkSettings(architecture="batchtopk", features=32, k=3), 0.93),
        (MatryoshkaSettings(architecture="matryoshka", features=32, k=3, prefixes=(16,)), 0.85),
    ],
    ids=["topk", "relu", "gated", "jumprelu", "batchtopk", "matryoshka"],
)
def test_planted_dictionary_is_found_again(
    planted: tuple[np.ndarray, np.ndarray], tmp_path: Path, settings: DictionarySettings, bound: float
) -> None:
    atoms, rows = planted
    run = _planted_run(rows, settings, steps=1500, learning_rate=3e-3, dead_after=8192)
    feed = _feed(rows, run)
    (trained,) = in_turns([steps(feed, run, tmp_path, start(feed, run, 16))])
    decoder = np.asarray(trained.arrays["decoder"])
    untrained = np.random.default_rng(1).standard_normal((32, 16))
    assert _mean_max_cosine(atoms, decoder) > bound > _mean_max_cosine(atoms, untrained)
    np.testing.assert_allclose(np.linalg.norm(decoder, axis=1), 1, atol=1e-4)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(100, 1501, 100))
    assert lines[-1]["fvu_batch"] < 0.15 < lines[0]["fvu_batch"] * 2
    assert lines[-1]["l0"] < 8


def test_fit_leaves_a_whole_folder(config: Config, tmp_path: Path) -> None:
    seen: list[Progress] = []
    numbers = loop.fit(config, tmp_path / "out", base=tmp_path, report=seen.append)
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [
        "README.md", "cfg.json", "metrics.json", "metrics.jsonl", "sae_weights.safetensors",
        "sparsity.safetensors", "training.html",
    ]  # fmt: skip
    assert numbers == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert numbers["tokens_trained"] == 12 * 16 and numbers["tokens"] > 0
    assert [progress.step for progress in seen] == [5, 10, 12]
    assert seen[-1].seconds_left == 0 and seen[-1].tokens_per_second > 0
    metadata = json.loads((tmp_path / "out" / "cfg.json").read_text())["metadata"]
    assert metadata["hook_name"] == "blocks.1.hook_resid_pre"
    page = (tmp_path / "out" / "training.html").read_text()
    assert (
        page.count("<svg") == 5
        and "layer 1 resid_pre" in page
        and "src=" not in page
        and 'href="http' not in page
    )
    assert "layer 1 resid_pre" in (tmp_path / "out" / "README.md").read_text()


def test_saved_dictionary_measures_the_same(config: Config, tmp_path: Path) -> None:
    config = config.model_copy(update={"data": config.data.model_copy(update={"norm_outliers": 3.0})})
    numbers = loop.fit(config, tmp_path / "out", base=tmp_path)
    again = loop.evaluate_folder(tmp_path / "out", config, base=tmp_path)
    assert again == {name: numbers[name] for name in again}
    assert "more than 3 times their batch's median norm" in (tmp_path / "out" / "README.md").read_text()


def test_transcoder_from_the_mlps_input_to_its_output(config: Config, tmp_path: Path) -> None:
    settings = TranscoderSettings(architecture="transcoder", features=40, k=3, skip=True)
    hook = config.hook.model_copy(update={"point": "mlp"})
    run = config.model_copy(update={"dictionary": settings, "hook": hook})
    numbers = loop.fit(run, tmp_path / "out", base=tmp_path)
    told = json.loads((tmp_path / "out" / "cfg.json").read_text())
    assert (told["architecture"], told["d_in"], told["d_out"]) == ("jumprelu_skip_transcoder", 16, 16)
    assert numbers["input_scale"] != numbers["output_scale"]
    assert np.isfinite(numbers["fvu"]) and np.isfinite(numbers["loss_recovered"])
    again = loop.evaluate_folder(tmp_path / "out", run, base=tmp_path)
    assert again == {name: numbers[name] for name in again}


def test_same_seed_same_bytes(config: Config, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "other")]
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        loop.fit(config.model_copy(update={"seed": seed}), folder, base=tmp_path)
    for name in ("sae_weights.safetensors", "cfg.json", "metrics.json", "README.md"):
        first, second, other = ((folder / name).read_bytes() for folder in folders)
        assert first == second and first != other, name


def test_not_a_number_stops_and_keeps_the_last_good_arrays(config: Config, tmp_path: Path) -> None:
    training = config.training.model_copy(update={"learning_rate": 1e36, "warmup": 0})
    with pytest.raises(DivergenceError, match=r"lower training\.learning_rate"):
        loop.fit(config.model_copy(update={"training": training}), tmp_path / "out", base=tmp_path)
    assert not (tmp_path / "out").exists()
    from safetensors.numpy import load_file

    kept = load_file(tmp_path / "out.partial" / "last_good.safetensors")
    assert all(np.isfinite(array).all() for array in kept.values())


def test_activations_that_are_no_numbers_are_told_before_the_steps(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = harvest.residuals_at

    def broken(*given: Any) -> dict[HookSettings, Any]:
        return {hook: found / 0 for hook, found in real(*given).items()}

    monkeypatch.setattr(harvest, "residuals_at", broken)
    with pytest.raises(SourceError, match=r"not finite; write model\.dtype: float32"):
        loop.fit(config, tmp_path / "out", base=tmp_path)


def test_run_that_fails_early_leaves_nothing_finished(config: Config, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text("")
    with pytest.raises(SourceError):
        loop.fit(config, tmp_path / "out", base=tmp_path)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_held_out_texts_are_looked_at_before_the_steps(config: Config, tmp_path: Path) -> None:
    told: list[Progress] = []
    data = config.data.model_copy(update={"held_out": (TextSource(source="none.jsonl"),)})
    with pytest.raises(SourceError, match="no such file"):
        loop.fit(
            config.model_copy(update={"data": data}), tmp_path / "out", base=tmp_path, report=told.append
        )
    assert not told


def test_folder_of_another_hook_point_is_refused(config: Config, tmp_path: Path) -> None:
    loop.fit(config, tmp_path / "out", base=tmp_path)
    other = config.model_copy(update={"hook": config.hook.model_copy(update={"layer": 0})})
    with pytest.raises(DictionaryError, match=r"trained at blocks\.1\.hook_resid_pre"):
        loop.evaluate_folder(tmp_path / "out", other, base=tmp_path)


def _assert_stopped_and_resumed_is_whole(config: Config, tmp_path: Path) -> None:
    loop.fit(config, tmp_path / "whole", base=tmp_path)
    asked = iter([False] * 6 + [True])
    with pytest.raises(InterruptedRun):
        loop.fit(config, tmp_path / "parts", base=tmp_path, stop=lambda: next(asked))
    loop.fit(config, tmp_path / "parts", base=tmp_path, resume=True)
    for name in ("sae_weights.safetensors", "metrics.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()


@pytest.mark.usefixtures("orbax")
def test_a_run_from_disk_is_resumed_bit_for_bit(config: Config, tmp_path: Path) -> None:
    assert harvest_to_disk([config], tmp_path / "acts", base=tmp_path)["resid_pre.1"] > 64
    config = config.model_copy(update={"data": config.data.model_copy(update={"activations": "acts"})})
    _assert_stopped_and_resumed_is_whole(config, tmp_path)


@pytest.mark.usefixtures("orbax")
def test_a_run_on_texts_of_the_model_itself_is_resumed_bit_for_bit(config: Config, tmp_path: Path) -> None:
    own = (TextSource(source="model", count=24, seed=5),)
    data = config.data.model_copy(update={"train": own, "held_out": own, "packed": True, "context": 24})
    config = config.model_copy(update={"data": data, "buffer": BufferSettings(capacity=192)})
    _assert_stopped_and_resumed_is_whole(config, tmp_path)
    assert "Texts: the model's own (24 texts)." in (tmp_path / "whole" / "README.md").read_text()


def test_generated_texts_are_files_to_train_on(config: Config, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no source is the model itself"):
        generate(config, tmp_path / "texts", base=tmp_path)
    own = (TextSource(source="model", count=9, seed=5),)
    config = config.model_copy(update={"data": config.data.model_copy(update={"train": own})})
    (path,) = generate(config, tmp_path / "texts", base=tmp_path)
    assert path == tmp_path / "texts" / "train.jsonl" and len(path.read_text().splitlines()) == 9
    with pytest.raises(OutputError, match="choose another --out"):
        generate(config, tmp_path / "texts", base=tmp_path)


SEVERAL = """\
dictionaries:
  early: {hook: {layer: 1}, dictionary: {architecture: topk, features: 40, k: 3}}
  late:
    hook: {layer: 1, point: resid_post}
    dictionary: {architecture: relu, features: 24, coefficient: 1.0e-3}
"""


@pytest.mark.usefixtures("orbax")
def test_several_dictionaries_are_those_of_their_own_runs(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = RUN.format(model=config.model.source)
    kept = [line for line in text.splitlines() if not line.startswith(("hook", "dictionary"))]
    configs = parse_configs("\n".join([*kept, SEVERAL]), "several.yaml")
    assert configs["early"] == config

    def all_of(folder: str, **options: object) -> None:
        runs = {tmp_path / folder / name: each for name, each in configs.items()}
        loop.fit_several(runs, base=tmp_path, **options)

    counted: list[int] = []
    real = harvest.residuals_at

    def counting(
        subject: Subject, batch: TokenBatch, hooks: Sequence[HookSettings]
    ) -> dict[HookSettings, object]:
        counted.append(len(hooks))
        return real(subject, batch, hooks)

    monkeypatch.setattr(harvest, "residuals_at", counting)
    all_of("together")
    together = counted.count(2)
    counted.clear()
    loop.fit(configs["late"], tmp_path / "alone", base=tmp_path)
    measured = 2  # batches of the held-out texts
    assert together == len(counted) - measured  # both from no more passes than one alone
    asked = iter([False] * 9)
    with pytest.raises(InterruptedRun):
        all_of("parts", stop=lambda: next(asked, True))
    all_of("parts", resume=True)
    weights = "sae_weights.safetensors"
    assert (tmp_path / "alone" / weights).read_bytes() == (tmp_path / "together/late" / weights).read_bytes()
    for name in configs:
        for file in (weights, "metrics.json", "cfg.json"):
            whole, parts = (tmp_path / folder / name / file for folder in ("together", "parts"))
            assert whole.read_bytes() == parts.read_bytes(), f"{name}/{file}"
