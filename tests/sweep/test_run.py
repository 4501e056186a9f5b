"""A sweep measures each point once, goes on where it stood, and draws what it found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click import UsageError
from click.testing import CliRunner
from safetensors.numpy import save_file

import surgery.sweep.run
from surgery.cli.sweep import chosen_axis, parse_values
from surgery.cli.sweep import sweep as command
from surgery.cli.sweep_screen import sweep_lines
from surgery.direction.direction import unit_direction, write_directions
from surgery.errors import DirectionError, RecipeError
from surgery.recipe import LoadedRecipe
from surgery.recipe.reader import parse_recipe
from surgery.report.sweep import POINTS, Measured, Point, Sweep, read_points, with_every_row
from surgery.report.sweep_figure import share_limits, write_figure
from surgery.sweep.run import sweep
from surgery.verify.statistics import Estimate, share

QUESTION = {"question": "apple or river", "choices": ["yes", "no", "agree", "stone"], "answer": 1}


@pytest.fixture
def loaded(tiny_folder: Path, tmp_path: Path) -> LoadedRecipe:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 32)).astype(np.float32)
    folder = tmp_path / "sae"
    folder.mkdir()
    tensors = {
        "W_enc": np.ascontiguousarray(rows.T),
        "W_dec": rows,
        "b_enc": np.zeros(60, np.float32),
        "b_dec": np.zeros(32, np.float32),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    cfg = {"architecture": "standard", "metadata": {"hook_name": "blocks.1.hook_resid_pre"}}
    (folder / "cfg.json").write_text(json.dumps(cfg))
    (tmp_path / "plus.txt").write_text("steal a boat\nsteal a river\nsteal a stone\n")
    (tmp_path / "minus.txt").write_text("water the fern\nwater the apple\nfill the can\n")
    (tmp_path / "quiz.jsonl").write_text(
        "".join(json.dumps(QUESTION | {"answer": n % 4}) + "\n" for n in range(6))
    )
    text = f"""
model: {{source: {tiny_folder}, device: cpu}}
direction:
  d:
    find: difference_of_means
    positive: plus.txt
    negative: minus.txt
    select: {{layer: 1}}
    reconstruct: {{dictionary: {folder}, k: 2, method: omp}}
edit:
  - {{ablate: d}}
verify:
  choice: {{questions: quiz.jsonl, drop: {{at_most: 0.5}}}}
  drift: {{prompts: minus.txt, tokens: 2}}
output: {{folder: out}}
"""
    (tmp_path / "r.yaml").write_text(text)
    return parse_recipe(text, path=tmp_path / "r.yaml")


def _counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sides: list[str] = []
    measure = surgery.sweep.run.measure

    def counted(*arguments: Any, **named: Any) -> Any:
        sides.append(named["side"])
        return measure(*arguments, **named)

    monkeypatch.setattr(surgery.sweep.run, "measure", counted)
    return sides


def test_points_are_measured_once_and_a_cut_off_sweep_goes_on(
    loaded: LoadedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = _counting(monkeypatch)
    out = tmp_path / "out"
    first = sweep(loaded, "k", [1, 2], out)
    assert sides == ["base"] + ["edited"] * 5
    assert [line.name for line in first.lines] == ["unedited", "random direction", "original direction"]
    assert [point.value for point in first.points] == [1, 2]
    with (out / POINTS).open("a") as file:
        file.write('{"key": "cut o')
    again = sweep(loaded, "k", [1, 2], out)
    assert len(sides) == 6
    assert again == first
    longer = sweep(loaded, "k", [1, 2, 3], out)
    assert sides[6:] == ["base", "edited"]
    assert longer.points[:2] == first.points
    assert len(read_points(out)) == 6


def test_a_sweep_that_cannot_begin_leaves_no_folder_and_finds_nothing_first(
    loaded: LoadedRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = np.zeros((60, 16), np.float32)
    tensors = {"W_enc": narrow.T.copy(), "W_dec": narrow, "b_enc": narrow[:, 0].copy(), "b_dec": narrow[0]}
    save_file(tensors, tmp_path / "sae" / "sae_weights.safetensors")
    monkeypatch.setattr("surgery.direction.find.difference_of_means", None)
    with pytest.raises(DirectionError, match=r"'d': dictionary .* has d_model 16, and the model 32"):
        sweep(loaded, "k", [1], tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(DirectionError):
        sweep(loaded, "k", [1], tmp_path / "old")
    assert (tmp_path / "old").is_dir()


def test_more_features_come_closer_and_the_unedited_model_does_not_move(
    loaded: LoadedRecipe, tmp_path: Path
) -> None:
    found = sweep(loaded, "k", [1, 4, 16], tmp_path / "out", skyline=unit_direction(np.ones(32)))
    cosines = [point.cosine for point in found.points]
    assert all(cosine is not None for cosine in cosines)
    assert sorted(cosines) == cosines  # type: ignore[type-var]
    assert len(found.points[2].directions["d"]["features"]) == 16
    unedited = next(line for line in found.lines if line.name == "unedited")
    drift = next(row for row in unedited.rows if row.label == "KL first token")
    assert drift.value.value == 0.0
    assert found.lines[-1].name == "skyline"


def test_a_k_that_the_method_cannot_give_is_left_out(loaded: LoadedRecipe, tmp_path: Path) -> None:
    found = sweep(loaded, "k", [2, 40], tmp_path / "out")
    assert [point.name for point in found.points] == ["k = 2"]
    assert found.left_out == ("k = 40: omp finds 32 features for 'd'",)
    with pytest.raises(DirectionError, match="k = 40: omp finds 32"):
        sweep(loaded, "k", [40], tmp_path / "out")


def test_strength_and_layer_are_axes_too(loaded: LoadedRecipe, tmp_path: Path) -> None:
    strengths = sweep(loaded, "strength", [0.0, 1.0, 2.0], tmp_path / "s")
    moved = [
        next(row.value.value for row in each.rows if row.label == "KL first token")
        for each in strengths.points
    ]
    assert moved[0] == 0.0 < moved[1]
    layers = sweep(loaded, "layer", [1, 2], tmp_path / "l")
    places = [point.directions["d"]["hook_point"] for point in layers.points]
    assert places == ["resid_pre.1", "resid_pre.2"]
    assert layers.left_out == ()
    assert all("features" not in point.directions["d"] for point in layers.points)


def test_a_layer_is_looked_at_where_the_recipe_looks(loaded: LoadedRecipe, tmp_path: Path) -> None:
    text = loaded.text.replace("{layer: 1}", "{layer: 1, hook_point: resid_post}")
    found = sweep(parse_recipe(text, path=loaded.path), "layer", [0, 1], tmp_path / "l")
    assert [point.directions["d"]["hook_point"] for point in found.points] == ["resid_post.0", "resid_post.1"]
    assert found.points[1].cosine == pytest.approx(1.0)


def test_a_layer_without_a_difference_is_left_out_and_one_that_is_not_there_refused(
    loaded: LoadedRecipe, tmp_path: Path
) -> None:
    found = sweep(loaded, "layer", [0, 1], tmp_path / "l")
    assert [point.value for point in found.points] == [1.0]
    assert len(found.left_out) == 1 and found.left_out[0].startswith("layer 0 resid_pre, position -1: both")
    assert any("left out" in str(line) for line in sweep_lines(found, [], 100))
    with pytest.raises(DirectionError, match="both sides have the same mean"):
        sweep(loaded, "layer", [0], tmp_path / "l")
    with pytest.raises(RecipeError, match="no layer 3: the model has layers 0 to 2"):
        sweep(loaded, "layer", [1, 3], tmp_path / "l")


def test_broken_replies_are_a_row_of_every_point_where_any_has_them() -> None:
    refusals = Measured("refusal, harmful", "share", 50, share(4, 50))
    broken = Measured("degenerate, harmful", "share", 50, share(2, 50))
    points = [Point(name, name, 1.0, None, {}, rows) for name, rows in
              {"a": (refusals,), "b": (refusals, broken), "c": ()}.items()]  # fmt: skip
    filled = with_every_row(points)
    assert [[row.label for row in point.rows] for point in filled] == [
        ["refusal, harmful", "degenerate, harmful"], ["refusal, harmful", "degenerate, harmful"], []
    ]  # fmt: skip
    assert filled[0].rows[1].value == share(0, 50) and filled[1].rows[1] == broken


def test_what_the_unedited_model_lacks_stands_where_the_others_have_it() -> None:
    def point(*labels: str) -> Point:
        rows = tuple(Measured(label, "share", 10, share(5, 10)) for label in labels)
        return Point("", "", None, None, {}, rows)

    found = Sweep("", "k", (point("a", "on a", "b", "on b"),), (point("a", "b"), point("a", "b", "last")))
    assert found.labels == ("a", "on a", "b", "on b", "last")


def test_the_figure_is_drawn_and_its_svg_is_the_same_again(loaded: LoadedRecipe, tmp_path: Path) -> None:
    found = sweep(loaded, "k", [1, 2], tmp_path / "out")
    png, svg = write_figure(found, tmp_path / "out")
    assert png.read_bytes()[:4] == b"\x89PNG"
    first = svg.read_bytes()
    write_figure(found, tmp_path / "out")
    assert svg.read_bytes() == first
    assert b"<svg" in first


@pytest.mark.parametrize(
    ("values", "limits"),
    [([0.0, 24.0], (-1, 26)), ([76.0, 100.0], (74, 101)), ([20.0, 80.0], (-3, 103)), ([], (-3, 103))],
)
def test_shares_that_lie_together_are_drawn_large(values: list[float], limits: tuple[float, float]) -> None:
    assert share_limits(values) == limits


def test_the_skyline_is_named_where_its_file_holds_several(loaded: LoadedRecipe, tmp_path: Path) -> None:
    file = tmp_path / "several.safetensors"
    write_directions(file, {name: unit_direction(np.ones(32)) for name in ("a", "b")})
    arguments = [str(loaded.path), "--k", "1", "--out", str(tmp_path / "out"), "--skyline", str(file)]
    with pytest.raises(DirectionError, match="--name a"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    done = CliRunner().invoke(command, [*arguments, "--name", "a"], catch_exceptions=False)
    assert done.exit_code == 0 and "skyline" in done.output


def test_as_many_numbers_stand_beside_each_other_as_fit() -> None:
    whole = Estimate(1.0, 0.94, 1.0)
    rows = tuple(Measured(label, "share", 60, whole) for label in ("refusal, harmful", "quiz", "a third"))
    line = Point("", "original direction", None, 1.0, {}, rows)
    found = Sweep("name: model", "layer", (replace(line, name="layer 2", value=2.0),), (line,))
    narrow, wide = ([str(each) for each in sweep_lines(found, [], width)] for width in (80, 110))
    assert all(len(each) <= 80 for each in narrow) and "not rebuilt" in narrow[0] + narrow[1]
    assert len([each for each in narrow if "layer 2" in each]) == 2
    (row,) = (each for each in wide if "layer 2" in each)
    assert row.count("100.0 [94.0, 100.0]") == 3


def test_a_recipe_without_what_the_axis_varies_is_refused(loaded: LoadedRecipe, tmp_path: Path) -> None:
    plain = parse_recipe(loaded.text.replace("reconstruct:", "# reconstruct:"), path=loaded.path)
    with pytest.raises(RecipeError, match="'reconstruct'"):
        sweep(plain, "k", [1], tmp_path / "out")
    silent = parse_recipe(
        "\n".join(
            line for line in loaded.text.split("\n") if "choice:" not in line and "drift:" not in line
        ).replace("verify:", ""),
        path=loaded.path,
    )
    with pytest.raises(RecipeError, match="names nothing"):
        sweep(silent, "k", [1], tmp_path / "out")


def test_the_command_prints_and_writes(loaded: LoadedRecipe, tmp_path: Path) -> None:
    arguments = [str(loaded.path), "--k", "1,2", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "original direction" in result.output and "k = 2" in result.output
    assert "cosine with the original direction" in " ".join(result.output.split())
    figure = (tmp_path / "out" / "sweep_k.png").read_bytes()
    arguments[1:3] = ["--strength", "0,1", "--json"]  # strength 1 is what k = 2 has been measured with
    lines = CliRunner().invoke(command, arguments, catch_exceptions=False).output.splitlines()
    compared = ["unedited", "random direction", "original direction"]
    assert [json.loads(line)["name"] for line in lines] == [*compared, "strength 0", "strength 1"]
    assert len(read_points(tmp_path / "out")) == 6
    # The other axis' figure stays, and its file has every point, the one that was measured before too.
    assert (tmp_path / "out" / "sweep_k.png").read_bytes() == figure
    assert (tmp_path / "out" / "sweep_strength.jsonl").read_text().splitlines() == lines


@pytest.mark.parametrize(
    ("text", "whole", "expected"),
    [
        ("1-4", True, [1, 2, 3, 4]),
        ("8,1,2,2", True, [1, 2, 8]),
        ("0,0.5,1.5", False, [0, 0.5, 1.5]),
        ("-1,1", False, [-1, 1]),
    ],
)
def test_values_are_ranges_or_lists(text: str, whole: bool, expected: list[float]) -> None:
    assert parse_values(text, whole=whole) == expected


@pytest.mark.parametrize("text", ["", "a", "1-", "0-3", "1.5", "1-500"])
def test_other_values_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|values"):
        parse_values(text, whole=True, least=1)
    with pytest.raises(UsageError, match="--k"):
        chosen_axis(text or ",", None, None)


def test_one_axis_at_a_time() -> None:
    assert chosen_axis(None, None, None) == ("k", [float(k) for k in range(1, 17)])
    with pytest.raises(UsageError, match="--k, --layer at a time"):
        chosen_axis("1", None, "2")
