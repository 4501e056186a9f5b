"""The bench: what it times, and the problem it hands on."""

import json
import sys
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from trainer.cli import main

SMALL = ["bench", "--d-model", "8", "--features", "24", "--batch", "32", "--k", "2", "--repeats", "2"]


def test_bench_times_the_roof_and_both_steps(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [*SMALL, "--json", "--problem", str(tmp_path / "problem.npz")])
    assert result.exit_code == 0, result.output
    timings = json.loads(result.stdout)
    assert [timing["name"] for timing in timings] == ["peak", "roof", "topk", "relu"]
    assert all(0 < timing["least"] <= timing["median"] for timing in timings)
    with np.load(tmp_path / "problem.npz") as problem:
        x, rows, bias = problem["x"], problem["encoder"], problem["decoder_bias"]
        assert int(problem["k"]) == 2 and (rows == problem["decoder"]).all()
    pre = (x - bias) @ rows.T
    codes = np.where(pre >= np.sort(pre, axis=1)[:, -2:-1], np.maximum(pre, 0), 0)
    error = codes @ rows + bias - x
    first = float((error**2).sum() / ((x - x.mean(0)) ** 2).sum())
    np.testing.assert_allclose(timings[2]["first_loss"], first, rtol=1e-5)


def test_peers_get_the_same_problem(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [*SMALL, "--peers", sys.executable])
    assert result.exit_code == 0, result.output
    ours, theirs = result.stdout.split("\n\n")
    told = {line.split()[0]: line for line in theirs.splitlines()}
    assert {"sae_lens", "dictionary_learning", "sparsify"} < set(told)
    first = next(line.split()[-1] for line in ours.splitlines() if line.startswith("topk"))
    for name in told.keys() - {"library"}:
        assert "not measured" in told[name] or told[name].split()[-1] == first
    missing = CliRunner().invoke(main, [*SMALL, "--peers", str(tmp_path / "python")])
    assert missing.exit_code == 2 and "name a Python" in missing.stderr


def test_bench_prints_a_table() -> None:
    result = CliRunner().invoke(main, SMALL)
    assert result.exit_code == 0 and "of the peak" in result.stdout
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()[1:]}
    assert [len(row) for row in rows.values()] == [4, 6, 5, 7] and rows["roof"][2] == "1.00"


def test_more_active_features_than_there_are_is_told() -> None:
    result = CliRunner().invoke(main, ["bench", "--features", "10", "--k", "100"])
    assert result.exit_code == 2 and "100 of 10 features cannot be active" in result.stderr
