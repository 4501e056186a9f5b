"""`surgery dictionary`, in process, on the embedded model and dictionary as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from surgery.cli.dictionary import FORMATS, METHODS, dictionary
from surgery.demo.sources import dictionary_folder
from surgery.dictionary.coding import METHODS as CODERS
from surgery.dictionary.source import READERS
from surgery.direction.direction import unit_direction
from surgery.errors import VerifyError
from surgery.hook_point import HookPoint


def _run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(dictionary, arguments, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def test_info_says_what_it_is() -> None:
    screen = _run("info", "demo:refuser", "--sha256")
    assert "saelens · topk" in screen and "resid_pre" in screen and "mapped" in screen
    facts = json.loads(_run("info", "demo:refuser", "--json"))
    assert facts["format"] == "saelens" and facts["d_model"] == 128 and "sha256" not in facts
    assert facts["metrics"].keys() == {"fvu", "l0", "dead_share", "loss_recovered"}
    assert "its trainer says" in screen and "loss recovered" in screen
    said = json.loads(_run("info", "demo:refuser", "--json", "--hook-point", "resid_post.2", "--k", "7"))
    assert (said["hook_point"], said["k"]) == ("resid_post.2", 7)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--hook-point", "layer four"], "resid_pre.4"),
        (["--format", "saelen"], "'dictionary_learning'"),
        (["--k", "0"], "x>=1"),
    ],
)
def test_a_wrong_option_is_bad_usage_with_the_right_spelling(wrong: list[str], said: str) -> None:
    assert said in _run("info", "demo:refuser", *wrong, code=2)


def test_the_choices_are_what_the_library_knows() -> None:
    assert tuple(READERS) == FORMATS
    assert tuple(CODERS) == METHODS


def test_info_says_which_place_cannot_be_hooked(tmp_path: Path) -> None:
    shutil.copytree(dictionary_folder("demo:refuser"), tmp_path / "d")
    config = json.loads((tmp_path / "d/cfg.json").read_text())
    config["metadata"]["hook_name"] = "blocks.2.attn.hook_z"
    (tmp_path / "d/cfg.json").write_text(json.dumps(config))
    assert "'blocks.2.attn.hook_z', which is no place" in _run("info", str(tmp_path / "d"))


def test_check_names_the_right_place_and_ends_with_3_where_it_is_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    point = json.loads(_run("info", "demo:refuser", "--json"))["hook_point"]
    good = json.loads(_run("check", "demo:refuser", "--model", "demo:refuser", "--tokens", "1024", "--json"))
    assert good["fits_model"] and good["fits"][0]["point"] == point and good["tokens"] > 900
    layer = int(point.removeprefix("resid_pre."))
    off = ["--hook-point", f"resid_pre.{layer - 1}"]
    screen = _run("check", "demo:refuser", "--model", "demo:refuser", "--tokens", "1024", *off, code=3)
    assert "off by one" in screen and f"layer {layer - 1} resid_pre *" in screen and "as plain text" in screen
    assert max(map(len, screen.splitlines())) <= 80


def test_check_says_nothing_from_a_few_tokens(tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("how do i water the fern\n")
    with pytest.raises(VerifyError, match=r"few\.txt: holds \d+ tokens, and 1,000 tell a fit"):
        _run("check", "demo:refuser", "--model", "demo:refuser", "--texts", str(tmp_path / "few.txt"))


def test_check_measures_a_transcoder_at_what_it_writes(tmp_path: Path) -> None:
    rng, d = np.random.default_rng(0), 128
    rows = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in
            {"W_enc": (d, 40), "b_enc": (40,), "W_dec": (40, d), "b_dec": (d,)}.items()}  # fmt: skip
    save_file(rows, tmp_path / "sae_weights.safetensors")
    names = {"hook_name": "blocks.2.mlp.hook_in", "hook_name_out": "blocks.2.hook_mlp_out"}
    config = {"architecture": "transcoder", "apply_b_dec_to_input": False, "metadata": names}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    common = ["check", str(tmp_path), "--model", "demo:refuser", "--tokens", "1024"]
    held = json.loads(_run(*common, "--json", code=3))
    assert (held["fits"][0]["point"], held["fits"][0]["output_point"]) == ("mlp_in.2", "mlp_out.2")
    screen = _run(*common, "--hook-point", "mlp_in.3", "--output-point", "mlp_out.3", code=3)
    assert "transcoder, reads layer 3 mlp_in" in screen and "does not fit" in screen


def test_features_explains_a_direction_and_writes_the_page(tmp_path: Path) -> None:
    vector = np.random.default_rng(0).standard_normal(128)
    unit_direction(vector, HookPoint(4, "resid_pre")).save(tmp_path / "d.safetensors", "noise")
    common = ["demo:refuser", "--model", "demo:refuser", "--tokens", "600"]
    direction = ["--direction", str(tmp_path / "d.safetensors"), "--top", "2"]
    screen = _run("features", *common, *direction, "--html", str(tmp_path / "page.html"))
    assert "same features by" in screen and "k = 2" in screen
    assert "Coefficients are for decoder rows of unit length" in (tmp_path / "page.html").read_text()
    held = json.loads(_run("features", *common, "--feature", "5", "--feature", "9", "--json"))
    assert [each["number"] for each in held["portraits"]] == [5, 9]


def test_features_wants_a_direction_or_numbers_and_a_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(dictionary, ["features", "demo:refuser", "--model", "demo:refuser"])
    assert result.exit_code == 2 and "--direction FILE or --feature N" in result.output
    page = str(tmp_path / "nowhere" / "page.html")
    assert "there is no folder" in _run(
        "features", "demo:refuser", "--model", "demo:refuser", "--feature", "1", "--html", page, code=2
    )
