"""Which names are looked for where, and what is said of those that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgery.recipe.sources import Source, find_sources, what_is_missing


def prompts(name: str, file: str | None = None) -> Source:
    return Source("prompts", ("verify", "refusal", "prompts"), name, file)


def model(name: str) -> Source:
    return Source("model", ("model", "source"), name, None)


def test_every_source_of_a_recipe_is_found() -> None:
    value = {
        "model": {"source": "org/model"},
        "direction": {
            "a": {
                "find": "file",
                "path": "a.st",
                "reconstruct": {"dictionary": "org/d", "path": "l/", "k": 1},
            },
            "b": {
                "find": "difference_of_means",
                "positive": "p",
                "negative": {"source": "org/n", "file": "f"},
            },
        },
        "verify": {"choice": {"questions": 5, "examples": {"source": ""}}},
    }
    assert [(each.room, each.path, each.resolved_key) for each in find_sources(value)] == [
        ("model", ("model", "source"), "org/model"),
        ("directions", ("direction", "a", "path"), "a.st"),
        ("dictionaries", ("direction", "a", "reconstruct", "dictionary"), "org/d/l"),
        ("prompts", ("direction", "b", "positive"), "p"),
        ("prompts", ("direction", "b", "negative", "source"), "org/n/f"),
    ]


def test_prompts_lie_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "harmful.jsonl").touch()
    assert what_is_missing(prompts("harmful.jsonl"), tmp_path) is None
    assert what_is_missing(prompts("./harmful.jsonl"), tmp_path) is None
    assert what_is_missing(prompts(str(tmp_path / "harmful.jsonl")), Path("elsewhere")) is None
    said = what_is_missing(prompts("harmfull.jsonl"), tmp_path)
    assert said is not None
    assert said.startswith("there is no file 'harmfull.jsonl' in ")
    assert said.endswith("; did you mean 'harmful.jsonl'?")


def test_a_dataset_without_its_file(tmp_path: Path) -> None:
    said = what_is_missing(prompts("walledai/AdvBench"), tmp_path)
    assert said is not None and said.endswith("; if it is a Hub dataset, name its 'file' too")
    assert what_is_missing(prompts("walledai/AdvBench", "train.csv"), tmp_path) is None


def test_a_folder_where_a_file_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert what_is_missing(prompts("set"), tmp_path) == "'set' is a folder, and a file is wanted here"


def test_models_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert what_is_missing(model("./weights"), Path("recipes")) is None
    assert what_is_missing(model("org/on_the_hub"), Path("recipes")) is None
    assert (
        what_is_missing(model("./file"), Path("recipes")) == "'./file' is a file, and a folder is wanted here"
    )
    dictionary = Source("dictionaries", (), "./file", None)
    assert what_is_missing(dictionary, Path("recipes")) is None, "some formats are one file"
    said = "there is no folder './weight' in the working directory; did you mean 'weights'?"
    assert what_is_missing(model("./weight"), Path("recipes")) == said
    assert (
        what_is_missing(model("a/b/c"), Path("recipes"))
        == "there is no folder 'a/b/c' in the working directory"
    )


def test_a_name_that_no_system_takes(tmp_path: Path) -> None:
    said = what_is_missing(prompts("x" * 5000), tmp_path)
    assert said is not None and said.endswith("cannot be looked up: File name too long")


def test_a_direction_is_a_file_even_when_it_looks_like_a_demo(tmp_path: Path) -> None:
    said = what_is_missing(Source("directions", ("direction", "a", "path"), "demo:x", None), tmp_path)
    assert said is not None and said.startswith("there is no file 'demo:x' in ")


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "harmful.jsonl").touch()
    assert what_is_missing(prompts("~/harmful.jsonl"), Path("recipes")) is None
    said = what_is_missing(model("~nobody-of-that-name/weights"), Path())
    assert said is not None and said.startswith("there is no folder '~nobody-of-that-name/weights'")


def test_the_checkpoints_of_a_weight_difference_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.gguf").touch()
    wanted = {"find": "weight_difference", "base": "./base.gguf", "edited": "./nowhere"}
    missing = [what_is_missing(each, Path()) for each in find_sources({"direction": {"a": wanted}})]
    assert missing == [None, "there is no folder './nowhere' in the working directory"]
