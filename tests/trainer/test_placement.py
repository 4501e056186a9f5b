"""Eight fake devices against one: the same draws, the same steps, every array in its slice. Processes of
their own, because JAX fixes the number of devices at its first use."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from surgery.errors import SourceError
from trainer import loop
from trainer.placement import count, over, place_rows
from trainer.reader import read_config
from trainer.settings import DeviceSettings

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
import jax, numpy as np
from trainer.feed import Feed
from trainer.placement import over, whole
from trainer.reader import parse_config
from trainer.settings import DeviceSettings
from trainer.step import make_step
from trainer.training import start

TEXT = '''
model: {source: none}
hook: {layer: 0%s}
data: {train: [{source: a}], held_out: [{source: a}], context: 8, batch: 8}
dictionary: {features: 32, %s}
buffer: {capacity: 128}
training: {steps: 5, batch: 64, learning_rate: 1.0e-3, warmup: 1, dead_after: 64}
'''
rng = np.random.default_rng(0)
DATA = (rng.standard_normal((4, 64, 32)) @ rng.standard_normal((32, 32))).astype(np.float32)

def passes(number, first):
    for rows in DATA[first:]:
        yield rows, np.arange(64) % 7 > 0

def run(kind, devices):
    config = parse_config(TEXT % (", point: mlp" if "transcoder" in kind else "", kind), "run.yaml")
    d = 16 if "transcoder" in kind else 32
    with over(devices):
        feed = Feed(passes, config.buffer)
        begun = start(feed, config, d)
        advance, state = make_step(config.dictionary, config.training, begun.scales), begun.state
        for number in range(5):
            rows = feed.draw(jax.random.key(number), 64)
            state, numbers = advance(state, rows)
        slices = [feed.buffer.rows, rows, state.parameters["encoder"], state.moments.second["decoder"]]
        shapes = [array.addressable_shards[0].data.shape for array in slices]
        arrays = {name: whole(array) for name, array in state.parameters.items()}
        return arrays, float(numbers["loss"]), shapes

found = []
for kind, data, model in json.loads(sys.argv[1]):
    one = run(kind, DeviceSettings())
    many = run(kind, DeviceSettings(data=data, model=model))
    gap = max(float(np.abs(one[0][name] - many[0][name]).max()) for name in one[0])
    found.append([gap, one[1], many[1], many[2]])
print(json.dumps(found))
"""
CASES = [
    ("architecture: topk, k: 4, auxiliary: 0.5", 8, 1),
    ("architecture: topk, k: 4, auxiliary: 0.5", 4, 2),
    ("architecture: matryoshka, k: 4, prefixes: [6, 20]", 2, 4),
    ("architecture: transcoder, k: 4, skip: true", 4, 2),
    ("architecture: relu, coefficient: 0.01", 4, 2),
    ("architecture: jumprelu, coefficient: 0.1, bandwidth: 1.0", 1, 8),
]
RUN = """\
model: {{source: {model}, decoder: {decoder}}}
hook: {{layer: 1}}
data:
  train: [{{source: texts.txt}}]
  held_out: [{{source: texts.txt}}]
  context: 16
  batch: 4
dictionary: {{architecture: topk, features: 24, k: 4}}
buffer: {{capacity: 64}}
training: {{steps: 6, batch: 16, log_every: 2, warmup: 2, learning_rate: 1.0e-3}}
"""


def _start(arguments: list[str], devices: int) -> "subprocess.Popen[str]":
    flags = f"--xla_force_host_platform_device_count={devices}"
    places = {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, **places}, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _output(process: "subprocess.Popen[str]") -> str:
    out, problem = process.communicate(timeout=300)
    assert process.returncode == 0, problem[-3000:]
    return out


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "cases", [CASES[:3], pytest.param(CASES[3:], marks=pytest.mark.slow)], ids=["k codes", "other kinds"]
)
def test_eight_devices_equal_one(cases: list[tuple[str, int, int]]) -> None:
    results = json.loads(_output(_start(["-c", SCRIPT, json.dumps(cases)], 8)).splitlines()[-1])
    for (kind, data, model), (gap, alone, together, shapes) in zip(cases, results, strict=True):
        assert gap < 5e-5, (kind, data, model, gap)  # five steps of 1e-3 each
        assert together == pytest.approx(alone, rel=1e-5), kind
        width = 16 if "transcoder" in kind else 32
        assert shapes == [
            [128 // data, 32], [64 // data, 32], [32 // model, width], [32 // model, width]
        ], kind  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["transformers", "jax"])
def test_two_processes_leave_what_one_leaves(tmp_path: Path, model_folder: Path, decoder: str) -> None:
    lines = [
        f"<bos> {verb} the {thing} now" for verb in ("fix", "water") for thing in ("lamp", "plant", "one")
    ]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    for name, devices in (("one", ""), ("two", "devices: {data: 2}\n")):
        (tmp_path / f"{name}.yaml").write_text(RUN.format(model=model_folder, decoder=decoder) + devices)
    loop.fit(read_config(tmp_path / "one.yaml"), tmp_path / "one", base=tmp_path)
    two = ["-m", "trainer.cli", "fit", str(tmp_path / "two.yaml"), "--out", str(tmp_path / "two")]
    together = ["--coordinator", f"127.0.0.1:{_free_port()}", "--processes", "2", "--process"]
    pair = [_start([*two, *together, str(number)], 1) for number in range(2)]
    ended = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ended[0][1][-3000:]
    first, second = (load_file(tmp_path / name / "sae_weights.safetensors") for name in ("one", "two"))
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, atol=2e-5, err_msg=name)
    assert not (tmp_path / "two.partial").exists()


def test_without_a_mesh_nothing_is_moved() -> None:
    rows = object()
    with over(DeviceSettings()):
        assert place_rows(rows) is rows and count("data") == 1


def test_too_few_devices_are_told() -> None:
    with pytest.raises(SourceError, match="lower devices"), over(DeviceSettings(data=64)):
        pass
