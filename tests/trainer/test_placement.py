"""Eight fake devices against one: the same draws, the same steps, every array in its slice. Processes of
their own, because JAX fixes the number of devices at its first use."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from surgery.errors import SourceError
from trainer import loop
from trainer.checkpoint import CHECKPOINT
from trainer.placement import count, over, place_rows
from trainer.reader import read_configs
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
        list(feed.filling())
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
RING = """
import json, sys
import jax, numpy as np
from trainer.buffer import empty, sample, write
from trainer.placement import over, place_rows, whole
from trainer.settings import DeviceSettings

def run(devices):
    rows = np.random.default_rng(0).standard_normal((3, 48, 8)).astype(np.float32)
    with over(devices):
        buffer = empty(128, 8)
        places = [each.data.unsafe_buffer_pointer() for each in buffer.rows.addressable_shards]
        for part in rows:
            keep = place_rows(np.arange(48) % 7 > 0)
            part = place_rows(part)
            text = write.lower(buffer, part, keep).compile().as_text()
            buffer = write(buffer, part, keep)
        assert [each.data.unsafe_buffer_pointer() for each in buffer.rows.addressable_shards] == places
        held, drawn = whole(buffer.rows), whole(sample(buffer, jax.random.key(3), 64))
        return held, drawn, text, sample.lower(buffer, jax.random.key(3), 64).compile().as_text()

one, many = run(DeviceSettings()), run(DeviceSettings(data=8))
assert (one[0] == many[0]).all() and (one[1] == many[1]).all()
print(json.dumps(many[2:]))
"""
SAVED = (
    SCRIPT[: SCRIPT.index("def run")]
    + """
from pathlib import Path
from trainer.checkpoint import load_checkpoint, save_checkpoint

config, folder = parse_config(TEXT % ("", "architecture: topk, k: 4"), "run.yaml"), Path(sys.argv[1])
with over(DeviceSettings(data=4, model=2)):
    feed = Feed(passes, config.buffer)
    list(feed.filling())
    begun = start(feed, config, 32)
    save_checkpoint(folder, begun, config)
for data, model in ((4, 2), (1, 8), (1, 1)):
    devices = DeviceSettings(data=data, model=model)
    with over(devices):
        again = load_checkpoint(folder, config.model_copy(update={"devices": devices}))
        before, after = (jax.tree.leaves((it.state, it.buffer)) for it in (begun, again))
        for mine, theirs in zip(before, after, strict=True):
            np.testing.assert_array_equal(whole(mine), whole(theirs))
        assert again.buffer.rows.addressable_shards[0].data.shape == (128 // data, 32)
        assert again.state.parameters["encoder"].addressable_shards[0].data.shape == (32 // model, 32)
"""
)
CASES = [
    ("architecture: topk, k: 4, auxiliary: 0.5", 8, 1),
    ("architecture: topk, k: 4, auxiliary: 0.5", 4, 2),
    ("architecture: matryoshka, k: 4, prefixes: [6, 20]", 2, 4),
    ("architecture: transcoder, k: 4, skip: true", 4, 2),
    ("architecture: relu, coefficient: 0.01", 4, 2),
    ("architecture: jumprelu, coefficient: 0.1, bandwidth: 1.0", 1, 8),
]
LONG = 300  # steps, of which the first few are logged before a signal arrives
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
training: {{steps: {steps}, batch: 16, log_every: 2, warmup: 2, learning_rate: 1.0e-3}}
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


def test_the_ring_over_devices_is_that_of_one_and_never_moves() -> None:
    write, draw = json.loads(_output(_start(["-c", RING], 8)))
    moved = re.compile(r"= (\S+?)(?:\{\S*)? (?:all-gather|all-reduce|all-to-all|collective-permute|copy)\(")
    # harvested rows to every chip; the drawn ones summed, each chip knowing its own; never slices of the ring
    assert {each for each in moved.findall(write) if each.startswith("f32")} == {"f32[48,8]"}
    assert {each for each in moved.findall(draw) if each.startswith("f32")} == {"f32[64,8]"}


@pytest.mark.usefixtures("orbax")
def test_a_checkpoint_is_read_over_any_number_of_devices(tmp_path: Path) -> None:
    assert _output(_start(["-c", SAVED, str(tmp_path)], 8)) == ""


def _configs(folder: Path, model: Path, decoder: str, steps: int = 6) -> None:
    """The same run over one device and over two, as one.yaml and two.yaml."""
    lines = [
        f"<bos> {verb} the {thing} now" for verb in ("fix", "water") for thing in ("lamp", "plant", "one")
    ]
    (folder / "texts.txt").write_text("\n".join(lines))
    text = RUN.format(model=model, decoder=decoder, steps=steps)
    (folder / "one.yaml").write_text(text)
    (folder / "two.yaml").write_text(text + "devices: {data: 2}\n")


def _pair(folder: Path, out: str, *more: str) -> list["subprocess.Popen[str]"]:
    """Two processes of one run."""
    two = ["-m", "trainer.cli", "fit", str(folder / "two.yaml"), "--out", str(folder / out), *more]
    together = ["--coordinator", f"127.0.0.1:{_free_port()}", "--processes", "2", "--process"]
    return [_start([*two, *together, str(number)], 1) for number in range(2)]


def _ended(pair: list["subprocess.Popen[str]"], code: int = 0) -> str:
    told = [process.communicate(timeout=300)[1] for process in pair]
    assert [process.returncode for process in pair] == [code, code], told[0][-3000:]
    return told[0]


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["transformers", "jax"])
def test_two_processes_leave_what_one_leaves(tmp_path: Path, model_folder: Path, decoder: str) -> None:
    _configs(tmp_path, model_folder, decoder)
    loop.fit(read_configs(tmp_path / "one.yaml")[""], tmp_path / "one", base=tmp_path)
    _ended(_pair(tmp_path, "two"))
    first, second = (load_file(tmp_path / name / "sae_weights.safetensors") for name in ("one", "two"))
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, atol=2e-5, err_msg=name)
    assert not (tmp_path / "two.partial").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("orbax")
def test_two_processes_are_stopped_and_resumed_bit_for_bit(tmp_path: Path, model_folder: Path) -> None:
    _configs(tmp_path, model_folder, "jax", steps=LONG)
    _ended(_pair(tmp_path, "whole"))
    pair = _pair(tmp_path, "parts")
    lines = tmp_path / "parts.partial" / "metrics.jsonl"
    while not (lines.is_file() and lines.read_text()):
        assert pair[0].poll() is None
        time.sleep(0.05)
    pair[0].send_signal(signal.SIGTERM)  # one is asked, both save and leave
    assert "go on with --resume" in _ended(pair, 1)
    (step,) = (int(each.name) for each in (tmp_path / "parts.partial" / CHECKPOINT).iterdir())
    assert 0 < step < LONG
    slices = tmp_path / "parts.partial" / CHECKPOINT / str(step) / "arrays"
    assert sorted(each.name for each in slices.glob("ocdbt.process_*")) == [
        "ocdbt.process_0", "ocdbt.process_1"
    ]  # fmt: skip
    _ended(_pair(tmp_path, "parts", "--resume"))
    whole, parts = (tmp_path / name / "sae_weights.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_without_a_mesh_nothing_is_moved() -> None:
    rows = object()
    with over(DeviceSettings()):
        assert place_rows(rows) is rows and count("data") == 1


def test_too_few_devices_are_told() -> None:
    with pytest.raises(SourceError, match="lower devices"), over(DeviceSettings(data=64)):
        pass
