"""`surgery diff`: the screen, the JSON, the exit codes, and every file it writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from surgery.checkpoint.layout import open_checkpoint
from surgery.cli.diff import diff
from surgery.direction.direction import read_directions, unit_direction, write_directions
from surgery.edit.executor import execute
from surgery.edit.plan import make_plan
from surgery.model.anatomy import read_anatomy
from surgery.recipe.editing import Ablate
from tests.compare import edited_pairs as pairs

DOCUMENTED = Path(__file__).parents[2] / "docs" / "diff.md"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(diff, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base, its copy in shards, an ablated one and a fine-tuned one."""
    root = tmp_path_factory.mktemp("pairs")
    config, tensors, anatomy = pairs.base("llama")
    tensors = {name: value.to(torch.bfloat16).double() for name, value in tensors.items()}
    ablated = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(1.0))
    return {
        "base": pairs.save(root / "base", config, tensors),
        "shards": pairs.save(root / "shards", config, tensors, shards=3),
        "ablated": pairs.save(root / "ablated", config | {"use_cache": False}, ablated),
        "tuned": pairs.save(root / "tuned", config, pairs.fine_tuned(tensors)),
    }


def test_the_same_model_in_another_layout_is_no_difference(folders: dict[str, Path]) -> None:
    done = _run(folders["base"], folders["shards"])
    assert done.exit_code == 0, done.output
    assert "39 of 39 tensors identical" in done.output
    assert "the same tensors, byte for byte, in other files" in done.output


def test_the_screen_says_what_was_done(folders: dict[str, Path]) -> None:
    done = _run(folders["base"], folders["ablated"], "--tensors")
    assert done.exit_code == 1, done.output
    said = " ".join(done.output.split())
    for part in (
        "30 of 39 tensors identical, every reader among them: B was made from this A",
        "9 tensors: 1 embedding, 4 mlp out, 4 attention out every writer, and nothing else",
        "directional ablation of one direction, strength 1.00 ± 0.00 (the component is removed), orthogonal",
        "residual-side vectors of 9 writers agree to 1.0000",
        "model.layers.3.mlp.down_proj.weight ablation, relative",
        'config.json changed + "use_cache": false',
    ):
        assert part in said, part
    assert max(map(len, done.output.splitlines())) <= 110


@pytest.mark.parametrize("after", ["base", "ablated", "tuned"])
def test_quiet_prints_nothing_and_exit_zero_always_is(after: str, folders: dict[str, Path]) -> None:
    quiet = _run(folders["base"], folders[after], "--quiet")
    assert (quiet.output, quiet.exit_code) == ("", 0 if after == "base" else 1)
    assert _run(folders["base"], folders[after], "--exit-zero").exit_code == 0


def test_trouble_is_exit_code_2(folders: dict[str, Path], tmp_path: Path) -> None:
    assert _run(folders["base"], tmp_path / "nothing").exit_code == 2
    (tmp_path / "empty").mkdir()
    done = _run(folders["base"], tmp_path / "empty", "--quiet", "--exit-zero")
    assert done.exit_code == 2
    assert "is no checkpoint" in done.output
    none = _run(folders["base"], folders["tuned"], "--save-direction", tmp_path / "r.safetensors")
    assert none.exit_code == 2
    assert "none to save" in none.output


def test_every_key_of_the_json_is_documented(folders: dict[str, Path]) -> None:
    found = json.loads(_run(folders["base"], folders["ablated"], "--json").output)
    assert found["verdict"]["kind"] == "ablation"
    assert found["counts"]["changed"] == len(found["tensors"]) == 9
    assert found["config"] == {"use_cache": [None, False]}
    documented = set(re.findall(r"^\| `([a-z_]+)`", DOCUMENTED.read_text(encoding="utf-8"), re.MULTILINE))
    written = {
        *found,
        *found["counts"],
        *found["verdict"],
        *found["tensors"][0],
        *found["verdict"]["probes"][0],
    }
    assert written | set(found["verdict"]["facts"]) <= documented


def test_an_added_vector_is_compared_with_saved_directions(folders: dict[str, Path], tmp_path: Path) -> None:
    truth = tmp_path / "truth.safetensors"
    write_directions(truth, {"r": unit_direction(pairs.direction().numpy())})
    config, tensors, _ = pairs.base("llama")
    tensors = {name: value.to(torch.bfloat16).double() for name, value in tensors.items()}
    names = [f"model.layers.{layer}.mlp.down_proj.bias" for layer in (1, 2)]
    for n_added, said in ((1, "truth.safetensors: r"), (2, f"truth.safetensors: r, {names[1]}")):
        added = {name: 3 * pairs.direction() for name in names[:n_added]}
        after = pairs.save(tmp_path / f"b{n_added}", config, tensors | added)
        screen = " ".join(_run(folders["base"], after, "--direction", truth).output.split())
        assert f"cosine 1.0000 with {said}" in screen and f"{names[0]} 3" in screen


def test_the_recovered_direction_is_saved_and_compared(folders: dict[str, Path], tmp_path: Path) -> None:
    truth = tmp_path / "truth.safetensors"
    write_directions(truth, {"r": unit_direction(pairs.direction().numpy())})
    saved = tmp_path / "found.safetensors"
    done = _run(folders["base"], folders["ablated"], "--direction", truth, "--save-direction", saved)
    assert "cosine 1.0000 with truth.safetensors: r" in done.output
    vector = read_directions(saved)["direction"].vector
    assert abs(float(vector @ pairs.direction().numpy())) > 0.9999


def test_pages_are_written(folders: dict[str, Path], tmp_path: Path) -> None:
    html, markdown = tmp_path / "diff.html", tmp_path / "diff.md"
    _run(folders["base"], folders["ablated"], "--quiet", "--html", html, "--markdown", markdown)
    page = html.read_text(encoding="utf-8")
    assert "<svg" in page and f"{folders['base']} → {folders['ablated']}" in page
    assert markdown.read_text(encoding="utf-8").startswith("## What changed against the base model\n")


def test_an_extracted_adapter_is_compared_like_a_checkpoint(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    done = _run(folders["base"], folders["ablated"], "--extract-lora", adapter)
    assert "rank 1, 9 matrices" in done.output
    assert "directional ablation of one direction" in (adapter / "README.md").read_text(encoding="utf-8")
    found = json.loads(_run(folders["base"], adapter, "--json").output)
    assert (found["verdict"]["kind"], found["verdict"]["effect"]) == ("ablation", "removed")
    assert _run(folders["base"], folders["ablated"], "--extract-lora", adapter).exit_code == 2
    assert _run(folders["base"], folders["tuned"], "--extract-lora", tmp_path / "no").exit_code == 2
    assert (
        _run(folders["base"], folders["tuned"], "--extract-lora", tmp_path / "x", "--rank", "no").exit_code
        == 2
    )


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_what_a_recipe_predicts_is_held_against_the_bytes(
    strength: float, folders: dict[str, Path], tmp_path: Path
) -> None:
    base = open_checkpoint(folders["base"])
    r = unit_direction(pairs.direction().numpy())
    anatomy = read_anatomy(base.config, base.shapes)
    plan = make_plan(base, anatomy, [Ablate(ablate="r", strength=strength)], {"r": r.vector})
    edited = tmp_path / "edited"
    edited.mkdir()
    execute(plan, base, edited)
    (edited / "surgery").mkdir()
    write_directions(edited / "surgery" / "direction.safetensors", {"r": r})
    write_directions(tmp_path / "r.safetensors", {"r": r})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {{source: {folders['base']}}}\n"
        "direction: {r: {find: file, path: r.safetensors}}\n"
        "edit: [{ablate: r}]\n"
        "output: {folder: out}\n"
    )
    done = _run(folders["base"], edited, "--expect", recipe)
    assert done.exit_code == (0 if strength == 1.0 else 1), done.output
    assert ("exactly what recipe.yaml says" in done.output) == (strength == 1.0)
    assert _run(folders["base"], folders["ablated"], "--expect", recipe).exit_code == 2


def test_torch_is_not_waited_for(folders: dict[str, Path], tmp_path: Path) -> None:
    two = [str(folders[name]) for name in ("base", "ablated")]
    saved = tmp_path / "r.safetensors"
    write_directions(saved, {"r": unit_direction(pairs.direction().numpy())})
    code = (
        "import sys; from surgery.cli.diff import diff\n"
        f"diff({[*two, '--exit-zero', '--direction', str(saved)]!r}, standalone_mode=False)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("option", "place", "said"),
    [
        ("--html", "no/page.html", "there is no folder"),
        ("--markdown", ".", "is a folder"),
        ("--save-direction", "no/r.safetensors", "there is no folder"),
        ("--extract-lora", ".", "already exists"),
        ("--rank", "0", "expected auto or a whole number"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_compared(
    folders: dict[str, Path], tmp_path: Path, option: str, place: str, said: str
) -> None:
    given = place if option == "--rank" else tmp_path / place
    done = _run(folders["base"], folders["ablated"], option, given)
    assert done.exit_code == 2 and said in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_a_file_in_place_of_a_folder_is_told(folders: dict[str, Path]) -> None:
    done = _run(folders["base"], next(folders["ablated"].glob("*.safetensors")))
    assert done.exit_code == 2
    assert "is a file; name the folder that it lies in" in " ".join(done.stderr.split())


def test_numpy_does_not_bring_threads_of_its_own(folders: dict[str, Path]) -> None:
    """BLAS reads how many threads it may have when numpy is imported, and never again."""
    code = (
        "import os, sys\n"
        "class Seen:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            print(os.environ.get('OPENBLAS_NUM_THREADS'))\n"
        "sys.meta_path.insert(0, Seen())\n"
        "from surgery.cli.main import main\n"
        "main()\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", code, "diff", "--quiet", folders["base"], folders["shards"]]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "1\n"


@pytest.mark.parametrize("option", ["--html", "--markdown", "--save-direction", "--extract-lora"])
def test_a_full_disk_leaves_nothing_half_written(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    target = tmp_path / "made"

    def full(self: Path, other: Path) -> None:
        raise OSError(28, "No space left on device")

    for move in ("replace", "rename"):
        monkeypatch.setattr(Path, move, full)
    done = _run(folders["base"], folders["ablated"], "--quiet", option, target)
    assert done.exit_code == 2
    assert "No space left on device" in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert _run(folders["base"], folders["ablated"], "--quiet", option, target).exit_code == 1
    assert [place.name for place in tmp_path.iterdir()] == ["made"]
