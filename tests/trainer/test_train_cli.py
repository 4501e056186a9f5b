"""`surgery-train`, in process."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from trainer.cli import main

RUN = """\
model: {{source: {model}}}
hook: {{layer: 1}}
data:
  train: [{{source: texts.txt}}]
  held_out: [{{source: texts.txt}}]
  context: 16
  batch: 4
dictionary: {{architecture: relu, features: 24, coefficient: 1.0e-4}}
training: {{steps: 6, batch: 16, log_every: 2}}
"""


@pytest.fixture
def config(tmp_path: Path, model_folder: Path) -> Path:
    (tmp_path / "texts.txt").write_text("<bos> fix the lamp\n<bos> water the plant now please\n")
    (tmp_path / "tiny.yaml").write_text(RUN.format(model=model_folder))
    return tmp_path / "tiny.yaml"


def test_fit_then_evaluate(config: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "out", CliRunner()
    fitted = run.invoke(main, ["fit", str(config), "--out", str(out), "--set", "seed=5", "--json"])
    assert fitted.exit_code == 0, fitted.output
    assert json.loads(fitted.stdout)["seed"] == 5
    assert "\r" not in fitted.stderr  # nothing moves when it is not a terminal
    assert ("without orbax-checkpoint" in fitted.stderr) is (find_spec("orbax") is None)
    evaluated = run.invoke(main, ["evaluate", str(out), str(config)])
    assert evaluated.exit_code == 0, evaluated.output
    assert f"{json.loads(fitted.stdout)['fvu']:.4f}" in evaluated.stdout


def test_out_is_named_after_the_config(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["fit", "tiny.yaml"]).exit_code == 0
    assert (tmp_path / "out" / "tiny" / "cfg.json").is_file()
    again = CliRunner().invoke(main, ["fit", "tiny.yaml"])
    assert again.exit_code == 1 and "pass --overwrite" in again.stderr
    assert CliRunner().invoke(main, ["fit", "tiny.yaml", "--overwrite"]).exit_code == 0


def test_several_dictionaries_from_disk(config: Path, tmp_path: Path) -> None:
    dictionary = "dictionary: {architecture: topk, features: 24, k: 2}"
    lines = [f"  {name}: {{hook: {{layer: {layer}}}, {dictionary}}}" for layer, name in enumerate("ab")]
    kept = [line for line in config.read_text().splitlines() if not line.startswith(("hook", "dictionary"))]
    config.write_text("\n".join([*kept, "dictionaries:", *lines]))
    run, out = CliRunner(), tmp_path / "out"
    harvested = run.invoke(main, ["harvest", str(config), "--out", str(tmp_path / "acts")])
    assert harvested.exit_code == 0, harvested.output
    assert [line.split()[1:] for line in harvested.stdout.splitlines()] == [["8", "tokens"]] * 2
    config.write_text(config.read_text().replace("  context:", "  activations: acts\n  context:"))
    fitted = run.invoke(main, ["fit", str(config), "--out", str(out), "--json"])
    assert fitted.exit_code == 0, fitted.output
    assert list(json.loads(fitted.stdout)) == ["a", "b"]
    again = run.invoke(main, ["evaluate", str(out / "b"), str(config), "--json"])
    assert json.loads(again.stdout)["fvu"] == json.loads(fitted.stdout)["b"]["fvu"]
    other = run.invoke(main, ["evaluate", str(out), str(config)])
    assert other.exit_code == 2 and "it has a, b" in other.stderr


def test_bad_config_is_exit_2_with_its_place(config: Path) -> None:
    config.write_text(config.read_text().replace("layer", "leyer"))
    result = CliRunner().invoke(main, ["fit", str(config)])
    assert result.exit_code == 2
    assert "tiny.yaml:2:8" in result.stderr and "did you mean 'layer'?" in result.stderr
    assert result.stdout == ""


def test_missing_source_is_exit_2(config: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").unlink()
    result = CliRunner().invoke(main, ["fit", str(config), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2 and "no such file" in result.stderr


def test_folder_that_is_no_dictionary_is_exit_1(config: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["evaluate", str(tmp_path), str(config)])
    assert result.exit_code == 1 and "not a dictionary folder" in result.stderr


def test_generate_writes_and_shows_the_models_texts(config: Path, tmp_path: Path) -> None:
    config.write_text(
        config.read_text().replace("train: [{source: texts.txt}]", "train: [{source: model, count: 5}]")
    )
    run = CliRunner()
    result = run.invoke(main, ["generate", str(config), "--out", str(tmp_path / "texts"), "--show", "2"])
    assert result.exit_code == 0, result.output
    assert "train.jsonl  5 texts, " in result.stdout and result.stdout.count("user: ") == 2
    assert len((tmp_path / "texts" / "train.jsonl").read_text().splitlines()) == 5
    again = run.invoke(main, ["generate", str(config), "--out", str(tmp_path / "texts")])
    assert again.exit_code == 1 and "choose another --out" in again.stderr


def test_commands_are_listed_in_the_order_of_their_use() -> None:
    lines = CliRunner().invoke(main, ["--help"]).stdout.split("Commands:")[1].split("\n")
    assert [line.split()[0] for line in lines if line.strip()] == [
        "fit", "harvest", "generate", "evaluate", "convert", "bench",
    ]  # fmt: skip
