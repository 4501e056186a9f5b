"""The YAML of a run: what is accepted, and how each mistake is told."""

from pathlib import Path

import pytest

from surgery.errors import RecipeError
from trainer.config import Config, SeveralConfig
from trainer.reader import parse_config, parse_configs, read_configs

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
    config = read_configs(path)[""]
    assert (config.hook.point, config.data.train[0].count, config.dictionary.features) == ("resid_pre", 8, 32)
    assert config.training.decay == 0.99
    assert hash(config.dictionary)  # settings are static arguments of compiled functions


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("k: 4", "kk: 4", "run.yaml:7:48    dictionary.kk: unknown key; did you mean 'k'?"),
        (
            "layer: 1",
            "layer: '1'",
            "run.yaml:2:15    hook.layer: expected a whole number ≥ 0, found '1'; remove the quotes",
        ),
        ("layer: 1", "layer: -1", "hook.layer: expected a whole number ≥ 0, found -1"),
        ("4.0e-4", "4e", "learning_rate: expected a number > 0, found '4e'"),
        ("steps: 5, learning_rate: 4.0e-4}", "steps: 5}\ndevices: {date: 5}", "did you mean 'data'?"),
        ("steps: 5, ", "", "run.yaml:8:1    training: missing key 'steps' (a whole number ≥ 1)"),
        ("topk", "tokp", "found 'tokp'; did you mean 'topk'?"),
        ("architecture", "architektur", "unknown key; did you mean 'architecture'?"),
        ("architecture: topk, ", "", "dictionary: missing key 'architecture' (one of relu"),
        ("k: 4", "k: 4, coefficient: 1.0", "dictionary.coefficient: cannot stand beside 'topk'"),
        ("4.0e-4", ".inf", "learning_rate: expected a finite number, found .inf"),
        ("steps: 5", "steps: 5, dead_after: 3000000000", "training.dead_after: expected a whole number"),
        ("steps: 5", "steps: 5, rare_below: 1.0e-6, rare_window: 3000000", "training.rare_window: times"),
        ("k: 4", "k: 40", "k is 40 but there are only 32 features"),
        ("topk", "tokp", "run.yaml:7:28    dictionary.architecture: expected one of relu, gated"),
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
        (
            "{source: demo:chats, count: 8}",
            "{source: model, count: 8, generate: {top_q: 0.9}}",
            "run.yaml:4:48    data.train[0].generate.top_q: unknown key; did you mean 'top_p'?",
        ),
        ("{source: demo:chats, count: 8}", "{source: model}", "add count"),
        (
            "{source: texts.txt}",
            "{source: texts.txt, file: a.jsonl}",
            "file goes with the id of a Hub dataset",
        ),
        ("{source: texts.txt}", "{source: a/texts.txt, revision: main}", "revision goes with file"),
        ("count: 8}", "count: 8, field: a}", "field and as_prompt go with files; demo:chats is none"),
        ("count: 8}", "count: 8, generate: {}}", "generate goes with source: model only"),
        ("count: 8}", "count: 8, generate: {top_p: 0.0}}", "data.train[0].generate.top_p"),
        ("demo:refuser}", "demo:refuser, weights: int8}", "weights and attention go with decoder: jax"),
        ("context: 32", "context: 32\n  context: 16", "run.yaml:7:3    the key 'context' stands twice"),
        ("context: 32", "context: 99999", "buffer.capacity: holds less than one forward pass"),
        ("hook: {layer: 1}", "hook: {layer: 1", "not valid YAML"),
        ("held_out: [{source: texts.txt}]", "held_out: []", "data.held_out"),
        ("steps: 5", "steps: true", "training.steps"),
        (
            "steps: 5, learning_rate: 4.0e-4}",
            "steps: 5, learning_rate: 4.0e-4}\ndevices: {model: 5}",
            "devices.model",
        ),
        ("steps: 5", "steps: !!python/object/apply:os.getcwd []", "is not read"),
    ],
)
def test_each_mistake_is_told_with_its_place(old: str, new: str, told: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError) as caught:
        parse_config(GOOD.replace(old, new), "run.yaml")
    assert told in str(caught.value)


SEVERAL = """\
model: {source: demo:refuser}
data:
  train: [{source: demo:chats, count: 8}]
  held_out: [{source: texts.txt}]
dictionaries:
  layer-1: {hook: {layer: 1}, dictionary: {architecture: topk, features: 32, k: 4}}
  mlp: {hook: {layer: 1, point: mlp}, dictionary: {architecture: transcoder, features: 32, k: 4}}
training: {steps: 5}
"""


def test_several_dictionaries_are_runs_that_differ_in_them_only(tmp_path: Path) -> None:
    path = tmp_path / "several.yaml"
    path.write_text(SEVERAL)
    runs = read_configs(path)
    assert list(runs) == ["layer-1", "mlp"]
    assert runs["mlp"].dictionary.architecture == "transcoder" and runs["mlp"].hook.point == "mlp"
    assert (
        runs["mlp"].model_copy(update={n: getattr(runs["layer-1"], n) for n in ("hook", "dictionary")})
        == (runs["layer-1"])
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "k: 4",
            "kk: 4",
            "several.yaml:6:78    dictionaries.layer-1.dictionary.kk: unknown key; did you mean 'k'?",
        ),
        ("{layer: 1}", "{leyer: 1}", "dictionaries.layer-1.hook.leyer: unknown key; did you mean 'layer'?"),
        (
            "hook: {layer: 1},",
            "hok: {layer: 1},",
            "dictionaries.layer-1.hok: unknown key; did you mean 'hook'?",
        ),
        ("layer-1", "../1", "dictionaries"),
        ("point: mlp", "point: resid_post", "architecture: transcoder and hook.point: mlp go together"),
        (
            "training",
            "hook: {layer: 1}\ntraining",
            "several.yaml:8:1    hook: does not go together with dictionaries",
        ),
    ],
)
def test_each_mistake_in_one_of_several_is_told(old: str, new: str, told: str) -> None:
    assert old in SEVERAL
    with pytest.raises(RecipeError) as caught:
        parse_configs(SEVERAL.replace(old, new, 1), "several.yaml")
    assert told in str(caught.value)


def test_all_mistakes_at_once_in_file_order() -> None:
    text = GOOD.replace("layer: 1", "leyer: 1").replace("steps: 5", "steps: 0")
    with pytest.raises(RecipeError) as caught:
        parse_config(text, "run.yaml")
    assert [problem.path for problem in caught.value.problems] == [
        "hook.leyer",
        "training.steps",
    ]


def test_a_mistake_in_a_list_is_not_told_as_an_empty_list() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_config(GOOD.replace("count: 8", "cuont: 8"), "run.yaml")
    assert [problem.path for problem in caught.value.problems] == ["data.train[0].cuont"]


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no such file"):
        read_configs(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="the file is empty"):
        parse_config("", "run.yaml")


def test_values_are_set_from_outside() -> None:
    changes = ["training.steps=7", "data.train[0].count=2", "buffer.capacity=5000"]
    run = parse_configs(GOOD, "run.yaml", changes)[""]
    assert (run.training.steps, run.data.train[0].count, run.buffer.capacity) == (7, 2, 5000)
    assert run.training.learning_rate == 4e-4
    assert run.training.clip == 1.0
    assert parse_configs(GOOD, "run.yaml", ["training.clip=null"])[""].training.clip is None
    assert parse_configs(SEVERAL, "x", ["dictionaries.mlp.hook.layer=0"])["mlp"].hook.layer == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("training.stepz=7", "--set training.stepz=7    training.stepz: unknown key 'stepz'; did you mean"),
        ("training.steps", "no value is given; write path=value"),
        ("training..steps=7", "not a path"),
        ("seed=x", "--set seed=x    seed: "),
        ("data.train[4].count=1", "there is no data.train[4]; data.train has 1"),
        ("training.steps.more=1", "training.steps is 5; nothing below it can be set"),
        ("dictionary={", "--set dictionary={"),
    ],
)
def test_a_change_that_does_not_fit_is_told(change: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_configs(GOOD, "run.yaml", [change])
    assert told in str(caught.value)


def test_every_key_is_documented() -> None:
    sections = Config.model_json_schema()["$defs"] | SeveralConfig.model_json_schema()["$defs"]
    bare = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, value in section["properties"].items()
        if "description" not in value
    ]
    named_by_their_section = {"architecture", "features", "train", "steps", "hook", "dictionary"}
    assert [name for name in bare if name.split(".")[1] not in named_by_their_section] == []
