"""Eight fake devices against one: the same draws, the same steps, every array in its slice. Processes of
their own, because JAX fixes the number of devices at its first use."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from surgery.errors import SourceError
from trainer.placement import count, over, place_rows
from trainer.settings import DeviceSettings

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
import jax, numpy as np
part, processes, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, processes, part)
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
        return {name: whole(array) for name, array in state.parameters.items()}, float(numbers["loss"]), shapes

found = []
for kind, data, model in json.loads(sys.argv[4]):
    one = run(kind, DeviceSettings()) if processes == 1 else None
    many = run(kind, DeviceSettings(data=data, model=model))
    gap = one and max(float(np.abs(one[0][name] - many[0][name]).max()) for name in one[0])
    total = float(sum(np.abs(array).astype(np.float64).sum() for array in many[0].values()))
    found.append([kind, gap, one and one[1], many[1], many[2], total])
print(json.dumps(found))
"""
CASES = [
    ("architecture: topk, k: 4, auxiliary: 0.5", 8, 1),
    ("architecture: topk, k: 4, auxiliary: 0.5", 4, 2),
    ("architecture: matryoshka, k: 4, prefixes: [6, 20]", 2, 4),
    ("architecture: matryoshka, k: 4, prefixes: [6, 20]", 8, 1),
    ("architecture: transcoder, k: 4, skip: true", 4, 2),
    ("architecture: relu, coefficient: 0.01", 4, 2),
    ("architecture: gated, coefficient: 0.01", 2, 4),
    ("architecture: jumprelu, coefficient: 0.1, bandwidth: 1.0", 1, 8),
]


def _start(part: int, processes: int, devices: int, cases: object) -> "subprocess.Popen[str]":
    flags = f"--xla_force_host_platform_device_count={devices}"
    places = {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    address = f"127.0.0.1:{PORT}" if processes > 1 else "none"
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(part), str(processes), address, json.dumps(cases)],
        env={**os.environ, **places}, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PORT = _free_port()


def _result(process: "subprocess.Popen[str]") -> list[list[object]]:
    out, problem = process.communicate(timeout=300)
    assert process.returncode == 0, problem[-3000:]
    found: list[list[object]] = json.loads(out.splitlines()[-1])
    return found


def test_eight_devices_equal_one() -> None:
    for (kind, data, model), found in zip(CASES, _result(_start(0, 1, 8, CASES)), strict=True):
        _, gap, alone, together, shapes, _ = found
        assert isinstance(gap, float) and gap < 2e-5, (kind, data, model, gap)
        assert together == pytest.approx(alone, rel=1e-5), kind
        width = 16 if "transcoder" in kind else 32
        assert shapes == [
            [128 // data, 32], [64 // data, 32], [32 // model, width], [32 // model, width]
        ], kind  # fmt: skip


def test_two_processes_equal_one() -> None:
    cases = [CASES[1], CASES[5]]
    alone = _result(_start(0, 1, 8, cases))
    pair = [_start(part, 2, 4, cases) for part in range(2)]
    first, second = (_result(process) for process in pair)
    assert first == second
    for mine, theirs in zip(alone, first, strict=True):
        assert theirs[3] == pytest.approx(mine[3], rel=1e-5)
        assert theirs[5] == pytest.approx(mine[5], rel=1e-5)


def test_without_a_mesh_nothing_is_moved() -> None:
    rows = object()
    with over(DeviceSettings()):
        assert place_rows(rows) is rows and count("data") == 1


def test_too_few_devices_are_told() -> None:
    with pytest.raises(SourceError, match="lower devices"), over(DeviceSettings(data=64)):
        pass
