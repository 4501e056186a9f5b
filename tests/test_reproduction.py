"""The same bytes again from a lock, without running a model; or what differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from surgery.checkpoint.hashes import sha256_file
from surgery.checkpoint.layout import Checkpoint
from surgery.checkpoint.sums import write_sums
from surgery.cli.main import cli
from surgery.direction.direction import read_directions, unit_direction, write_directions
from surgery.errors import OutputError, RecipeError, SourceError
from surgery.recipe import load_recipe, write_lock
from surgery.reproduction import reproduce
from tests.edit.edit_sources import contents, make_source
from tests.edit.results import make_result
from tests.model.family_configs import CONFIGS

RECIPE = """\
model: {{source: {base}}}
direction:
  r0: {{find: difference_of_means, positive: ./positive.txt, negative: ./negative.txt}}
edit:
  - {{ablate: r0}}
output: {{folder: {out}}}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("reproduced") / "base"
    found = make_source(folder, CONFIGS["llama"], dtype=torch.bfloat16, shards=2)
    (folder / "README.md").write_text("# The base\n")
    write_sums(folder)  # as one that is itself a result has them
    return found


@pytest.fixture
def result(base: Checkpoint, tmp_path: Path) -> Path:
    """A result with its lock, made from prompts that are not there any more."""
    out = make_result(base, tmp_path / "out")[1]
    record = out / "surgery"
    found = {"r0": read_directions(record / "direction.safetensors")["r0"]}
    for name in ("positive.txt", "negative.txt"):
        (tmp_path / name).write_text("a\nb\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(base=json.dumps(str(base.folder)), out=json.dumps(str(out))))
    files = {name: sha256_file(base.folder / name) for name in base.headers}
    resolved = {"model": {"files": files}, "directions": {"r0": found["r0"].sha256}}
    write_lock(record / "surgery.lock.yaml", load_recipe(recipe), resolved)
    (out / "README.md").write_text("# The result\n")
    write_sums(out)
    for name in ("positive.txt", "negative.txt", "recipe.yaml"):
        (tmp_path / name).unlink()
    return out


def _lock(out: Path) -> Path:
    return out / "surgery" / "surgery.lock.yaml"


def test_the_bytes_are_the_same(result: Path, tmp_path: Path) -> None:
    done = reproduce(_lock(result), output=tmp_path / "again")
    assert done.differences == ()
    assert contents(tmp_path / "again") == contents(result)
    assert done.n_compared == len(contents(result)) - 1
    assert done.n_copied == len(list((result / "surgery").iterdir())) + 1


def test_what_differs_is_named(result: Path, tmp_path: Path) -> None:
    sums = result / "SHA256SUMS"
    lines = sums.read_text().splitlines()
    changed = [
        ("0" * 64 + line[64:]) if line.endswith("00001-of-00002.safetensors") else line for line in lines
    ]
    sums.write_text("\n".join([*changed, "0" * 64 + "  gone.txt"]) + "\n")
    (result / "README.md").write_text("# Another\n")
    done = reproduce(_lock(result), output=tmp_path / "again")
    assert done.differences == (
        "README.md: its bytes are not those that SHA256SUMS lists",
        "gone.txt: is listed in SHA256SUMS and was not written",
        "model-00001-of-00002.safetensors: its bytes are not those that SHA256SUMS lists",
    )


def test_no_name_in_the_manifest_leads_out_of_the_folder(result: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    (result / "surgery" / "link.txt").symlink_to(tmp_path / "mine.txt")
    names = ("surgery/../../mine.txt", "surgery/link.txt")
    with (result / "SHA256SUMS").open("a") as sums:
        sums.writelines(f"{'0' * 64}  {name}\n" for name in names)
    done = reproduce(_lock(result), output=tmp_path / "deep" / "again")
    assert done.differences == tuple(f"{name}: is listed in SHA256SUMS and was not written" for name in names)
    assert not (tmp_path / "deep" / "mine.txt").exists()


def test_the_base_may_stand_elsewhere_and_must_be_the_same(
    base: Checkpoint, result: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(base.folder, moved)
    assert reproduce(_lock(result), output=tmp_path / "again", base=str(moved)).differences == ()
    weights = moved / "model-00002-of-00002.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(SourceError, match=r"is not the model .* \(model-00002-of-00002.safetensors\)"):
        reproduce(_lock(result), output=tmp_path / "third", base=str(moved))
    assert not (tmp_path / "third").exists()


def test_other_directions_are_refused(result: Path, tmp_path: Path) -> None:
    file = result / "surgery" / "direction.safetensors"
    good = read_directions(file)["r0"]
    write_directions(file, {"r0": unit_direction(good.vector[::-1])})
    with pytest.raises(SourceError, match="direction 'r0' is not the one"):
        reproduce(_lock(result), output=tmp_path / "again")
    write_directions(file, {"other": good})
    with pytest.raises(SourceError, match="holds no direction 'r0'"):
        reproduce(_lock(result), output=tmp_path / "again")
    file.unlink()
    with pytest.raises(SourceError, match="is missing"):
        reproduce(_lock(result), output=tmp_path / "again")


def test_a_recipe_is_no_lock_and_an_output_is_never_overwritten(result: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists; name another by --output"):
        reproduce(_lock(result))
    text = _lock(result).read_text()
    _lock(result).write_text(text[: text.index("\nresolved:") + 1] + text[text.index("\nverify:") + 1 :])
    with pytest.raises(SourceError, match="is a recipe and no lock"):
        reproduce(_lock(result), output=tmp_path / "again")
    with pytest.raises(RecipeError, match="no such file"):
        reproduce(tmp_path / "nowhere.yaml")


def test_without_a_manifest_there_is_nothing_to_compare_with(result: Path, tmp_path: Path) -> None:
    (result / "SHA256SUMS").unlink()
    with pytest.raises(SourceError, match="nothing to compare with"):
        reproduce(_lock(result), output=tmp_path / "again")


def test_the_command_says_it_and_exits_with_one_where_something_differs(result: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["reproduce", str(_lock(result)), "--output", str(tmp_path / "again")])
    assert done.exit_code == 0, done.output
    assert "compared with SHA256SUMS" in done.output and "differ      none" in done.output
    again = CliRunner().invoke(cli, ["reproduce", str(_lock(result)), "--output", str(tmp_path / "again")])
    assert again.exit_code == 2 and "already exists" in again.stderr
    (result / "README.md").write_text("# Another\n")
    more = ["reproduce", str(_lock(result)), "--output", str(tmp_path / "third"), "--json"]
    done = CliRunner().invoke(cli, more)
    assert done.exit_code == 1
    assert json.loads(done.output)["differences"] == [
        "README.md: its bytes are not those that SHA256SUMS lists"
    ]


def test_the_folder_of_a_result_will_do(result: Path, tmp_path: Path) -> None:
    assert not reproduce(result, output=tmp_path / "again").differences
