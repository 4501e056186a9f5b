"""A recipe that rebuilds a direction from a transcoder whose files do not say what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from safetensors.numpy import save_file

from surgery.apply import apply
from surgery.cli.main import cli
from surgery.direction.direction import Direction, unit_direction, write_directions
from surgery.hook_point import HookPoint
from surgery.hub import Snapshot

D_MODEL, N_FEATURES = 32, 64


@pytest.fixture
def rows(tmp_path: Path) -> np.ndarray:
    """The decoder rows of a transcoder in SAELens' layout, whose folder is `transcoder`."""
    rng = np.random.default_rng(0)
    decoder = rng.standard_normal((N_FEATURES, D_MODEL)).astype(np.float32)
    folder = tmp_path / "transcoder"
    folder.mkdir()
    tensors = {
        "W_enc": np.ascontiguousarray(decoder.T),
        "b_enc": np.zeros(N_FEATURES, np.float32),
        "W_dec": decoder,
        "b_dec": np.zeros(D_MODEL, np.float32),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    metadata = {"hook_name": "blocks.1.ln2.hook_normalized"}
    (folder / "cfg.json").write_text(json.dumps({"architecture": "transcoder", "metadata": metadata}))
    return decoder


def _recipe(folder: Path, model: Path, output_point: str) -> Path:
    recipe = {
        "model": {"source": str(model)},
        "direction": {
            "r": {
                "find": "file",
                "path": "r.safetensors",
                "reconstruct": {
                    "dictionary": str(folder / "transcoder"),
                    "k": 2,
                    "facts": {"output_point": output_point},
                },
            }
        },
        "edit": [{"ablate": "r"}],
        "output": {"folder": str(folder / "out")},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def test_the_output_point_is_a_fact_of_a_recipe(tiny_folder: Path, tmp_path: Path, rows: np.ndarray) -> None:
    planted = 2.0 * rows[7] - rows[40]
    wanted = unit_direction(planted, HookPoint(1, "mlp_out"))
    write_directions(tmp_path / "r.safetensors", {"r": wanted})
    report = apply(_recipe(tmp_path, tiny_folder, "mlp_out.1"))
    found = report.directions[0].reconstruction
    assert found is not None and {feature.number for feature in found.features} == {7, 40}
    assert found.note is None, "the direction is from where the transcoder writes"
    lock = yaml.safe_load((tmp_path / "out/surgery/surgery.lock.yaml").read_text())
    assert lock["direction"]["r"]["reconstruct"]["facts"]["output_point"] == "mlp_out.1"
    kept = Direction.load(tmp_path / "out/surgery/direction.safetensors", "r")
    assert abs(float(kept.vector @ wanted.vector)) > 0.9


def test_the_commit_of_a_dictionary_from_the_hub_is_locked(
    tiny_folder: Path, tmp_path: Path, rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def fetched(source: str, path: str | None, *, revision: str | None) -> Snapshot:
        asked.append(revision)
        return Snapshot(tmp_path, "0123abc")

    monkeypatch.setattr("surgery.dictionary.source.fetch_dictionary", fetched)
    monkeypatch.setattr("surgery.dictionary.source.repository_files", lambda *_, **__: ())
    write_directions(tmp_path / "r.safetensors", {"r": unit_direction(rows[3], HookPoint(1, "mlp_out"))})
    recipe = _recipe(tmp_path, tiny_folder, "mlp_out.1")
    wanted = yaml.safe_load(recipe.read_text())
    wanted["direction"]["r"]["reconstruct"] |= {"dictionary": "org/set", "path": "transcoder", "k": 1}
    recipe.write_text(yaml.safe_dump(wanted))
    apply(recipe)
    lock = tmp_path / "out/surgery/surgery.lock.yaml"
    held = yaml.safe_load(lock.read_text())
    assert held["resolved"]["dictionaries"]["org/set/transcoder"]["commit"] == "0123abc"
    assert held["direction"]["r"]["reconstruct"]["revision"] == "0123abc"
    apply(lock, overrides=[f"output.folder={json.dumps(str(tmp_path / 'again'))}"])
    assert asked == [None, "0123abc"]


def test_check_finds_a_hook_point_that_is_none(tiny_folder: Path, tmp_path: Path, rows: np.ndarray) -> None:
    write_directions(tmp_path / "r.safetensors", {"r": unit_direction(rows[0])})
    result = CliRunner().invoke(cli, ["check", str(_recipe(tmp_path, tiny_folder, "mlp_output"))])
    assert result.exit_code == 2
    assert "direction.r.reconstruct.facts.output_point: expected a hook point" in result.output
