"""`surgery check`: what it prints, in which form, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from surgery.cli.check import check

RIGHT = """\
model: {source: org/model}
direction: {d: {find: file, path: d.safetensors}}
edit: [{ablate: d}]
output: {folder: o}
"""
BROKEN = """\
model: {source: org/model}
direction:
  refusal:
    fnd: file
    path: d.safetensors
    reconstruct:
      dictionary: org/dictionary
      k: '2 '
edit:
  - {ablate: refusl}
output: {folder: o}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "d.safetensors").touch()
    (tmp_path / "right.yaml").write_text(RIGHT, encoding="utf-8")
    (tmp_path / "broken.yaml").write_text(BROKEN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_problems_are_aligned_and_counted() -> None:
    result = CliRunner().invoke(check, ["broken.yaml"])
    assert result.exit_code == 2
    assert result.stderr == ""
    assert result.stdout == (
        "broken.yaml:4:5     direction.refusal.fnd: unknown key; did you mean 'find'?\n"
        "broken.yaml:8:10    direction.refusal.reconstruct.k: expected a whole number ≥ 1, found '2 '\n"
        "broken.yaml:10:14   edit[0].ablate: no direction named 'refusl'; this recipe has: refusal\n"
        "3 problems; nothing was run.\n"
    )


@pytest.mark.usefixtures("folder")
def test_a_right_recipe_is_one_line() -> None:
    result = CliRunner().invoke(check, ["right.yaml"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout == "right.yaml   fine · org/model · 1 direction · 1 edit · 0 suites · checkpoint in o\n"
    )


@pytest.mark.usefixtures("folder")
def test_several_recipes() -> None:
    result = CliRunner().invoke(check, ["right.yaml", "nowhere.yaml"])
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        "right.yaml     fine · org/model · 1 direction · 1 edit · 0 suites · checkpoint in o",
        "nowhere.yaml   there is no such file",
        "1 problem in 1 of 2 recipes; nothing was run.",
    ]


@pytest.mark.usefixtures("folder")
def test_overrides() -> None:
    assert (
        CliRunner().invoke(check, ["right.yaml", "--set", "seed=3", "--set", "edit[0].strength=0"]).exit_code
        == 0
    )
    result = CliRunner().invoke(check, ["right.yaml", "--set", "sed=3"])
    assert result.exit_code == 2
    assert result.stdout.splitlines()[0] == "--set sed=3   sed: unknown key 'sed'; did you mean 'seed'?"


@pytest.mark.usefixtures("folder")
def test_json() -> None:
    result = CliRunner().invoke(check, ["right.yaml", "broken.yaml", "--json"])
    assert result.exit_code == 2
    right, broken = json.loads(result.stdout)
    assert right == {"recipe": "right.yaml", "name": "right", "problems": []}
    assert broken["name"] is None
    assert broken["problems"][0] == {
        "message": "unknown key; did you mean 'find'?",
        "path": "direction.refusal.fnd",
        "file": "broken.yaml",
        "line": 4,
        "column": 5,
    }


def test_no_recipe_is_wrong_usage() -> None:
    result = CliRunner().invoke(check, [])
    assert result.exit_code == 2
    assert "RECIPE" in result.stderr


def test_nothing_heavy_is_imported(folder: Path) -> None:
    code = (
        "import sys\n"
        "from surgery.cli.check import check\n"
        "check(['right.yaml'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'numpy', 'rich', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
