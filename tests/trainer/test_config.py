"""The YAML of a run: what is accepted, and how each mistake is told."""

from pathlib import Path

import pytest

from surgery.errors import RecipeError
from trainer.config import Config
from trainer.reader import parse_config, read_config

GOOD = """\
model: {source: demo:refuser}
hook: {layer: 1}
data:
  train: [{source: demo:chats, count: 8}]
  held_out: [{source: texts.txt}]
  context: 32
dictionary: {architecture: topk, features: 32, k: 4}
training: {steps: 5, learning_rate: 4.0e-4}
"""


def test_reads_what_is_written_and_fills_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(GOOD)
    config = read_config(path)
    assert (config.hook.point, config.data.train[0].count, config.dictionary.features) == ("resid_pre", 8, 32)
    assert config.training.decay == 0.99
    assert hash(config.dictionary)  # settings are static arguments of compiled functions


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("k: 4", "kk: 4", "run.yaml:7:48    dictionary.kk: unknown key; did you mean 'k'?"),
        ("layer: 1", "layer: '1'", "run.yaml:2:8    hook.layer: "),
        ("layer: 1", "layer: -1", "hook.layer: input should be greater than or equal to 0, found -1"),
        ("4.0e-4", "4e-4", "YAML wants a dot in it, as in 4.0e-4"),
        ("steps: 5, ", "", "run.yaml:8:1    training.steps: missing"),
        ("k: 4", "k: 40", "k is 40 but there are only 32 features"),
        ("topk", "tokp", "dictionary"),
        ("topk", "transcoder", "architecture: transcoder and hook.point: mlp go together"),
        ("layer: 1", "layer: 1, point: mlp", "go together"),
        (
            "topk, features: 32, k: 4",
            "matryoshka, features: 32, k: 4, prefixes: [8, 8]",
            "prefixes must rise",
        ),
        (
            "topk, features: 32, k: 4",
            "jumprelu, features: 32, coefficient: 1.0, sparsity: target_l0",
            "target_l0 and sparsity: target_l0 go together",
        ),
        ("context: 32", "context: 32\n  context: 16", "run.yaml:7:3    key 'context' is written twice"),
        ("context: 32", "context: 99999", "buffer.capacity"),
        ("hook: {layer: 1}", "hook: {layer: 1", "not valid YAML"),
        ("held_out: [{source: texts.txt}]", "held_out: []", "data.held_out"),
        ("steps: 5", "steps: true", "training.steps"),
        (
            "steps: 5, learning_rate: 4.0e-4}",
            "steps: 5, learning_rate: 4.0e-4}\ndevices: {model: 5}",
            "devices.model",
        ),
        ("steps: 5", "steps: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_each_mistake_is_told_with_its_place(old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError) as caught:
        parse_config(GOOD.replace(old, new), "run.yaml")
    assert told in str(caught.value)


def test_all_mistakes_at_once_in_file_order() -> None:
    text = GOOD.replace("layer: 1", "leyer: 1").replace("steps: 5", "steps: 0")
    with pytest.raises(RecipeError) as caught:
        parse_config(text, "run.yaml")
    assert [problem.path for problem in caught.value.problems] == [
        "hook.layer",
        "hook.leyer",
        "training.steps",
    ]


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="missing"):
        parse_config("", "run.yaml")


def test_every_key_is_documented() -> None:
    schema = Config.model_json_schema()
    bare = [
        f"{name}.{key}"
        for name, section in schema["$defs"].items()
        for key, value in section["properties"].items()
        if "description" not in value
    ]
    named_by_their_section = {"architecture", "features", "train", "steps"}
    assert [name for name in bare if name.split(".")[1] not in named_by_their_section] == []
