"""`surgery anatomy`: the screen, the JSON, the exit codes, and the page of all families."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from surgery.cli import main as door
from surgery.cli.anatomy import anatomy
from surgery.cli.families_page import families_page
from surgery.edit import proof as proof_module
from surgery.edit.proof import Proof
from surgery.errors import AnatomyError, SourceError
from surgery.model.families import FAMILIES
from surgery.model.families.trials import TRIALS
from surgery.model.families.unsupported import UNSUPPORTED
from surgery.model.twin import build_twin

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(anatomy, arguments)


def _twin(tmp_path: Path, **config: Any) -> str:
    return str(build_twin(config, tmp_path / "twin", seed=0))


def test_the_screen_groups_writers_by_role(tmp_path: Path) -> None:
    done = _run(_twin(tmp_path, model_type="gpt2"))
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    for part in (
        "· gpt2 · 2 layers · d_model 32",
        "transformer.wpe.weight axis 1 of 64 × 32 · nothing between it and the stream",
        "attention transformer.h.{0–1}.attn.c_proj.bias 2 × bias of 32 ·",
        "transformer.h.{0–1}.attn.c_proj.weight 2 × axis 1 of 32 × 32 ·",
        "transformer.wte.weight axis 1 of 96 × 32 · tied",
        "total 10 writers, 18 readers",
        "tied yes",
        "proof exact on the twin",
        "over 4 hook points",
    ):
        assert part in said, part
    assert all(len(line) <= 110 for line in done.output.splitlines())


def test_experts_and_norms_are_named(tmp_path: Path) -> None:
    done = _run(_twin(tmp_path, model_type="afmoe"), "--no-proof")
    said = " ".join(done.output.split())
    assert "layers.{1}.mlp.experts.{0–3}.down_proj.weight 4 × axis 0 of 32 × 24 · behind it" in said
    assert "the RMSNorm post_mlp_layernorm, whose gain is its weight" in said
    assert "not run (--no-proof)" in said and done.exit_code == 0


def test_json_names_every_writer_and_the_proof(tmp_path: Path) -> None:
    done = _run(_twin(tmp_path, model_type="gemma2"), "--json")
    found = json.loads(done.output)
    assert (found["family"], found["n_layers"], found["d_model"], found["tied"]) == ("gemma2", 2, 32, True)
    assert len(found["writers"]) == 5
    first = next(each for each in found["writers"] if each["role"] == "mlp_out")
    assert first["gain"] == {
        "tensor": "model.layers.0.post_feedforward_layernorm.weight",
        "offset": 1.0,
        "centred": False,
        "taps": False,
        "then": None,
    }
    assert first["shape"] == [32, 40] and first["residual_axis"] == 0 and first["layer"] == 0
    assert found["proof"]["exact"] and found["proof"]["max_component"] < 1e-5
    assert (
        json.loads(_run(_twin(tmp_path, model_type="gemma2"), "--json", "--no-proof").output)["proof"] is None
    )


def test_an_inexact_proof_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_module, "prove", lambda config, model: Proof(False, 0.2, 0.4, 4, "llama"))
    done = _run(_twin(tmp_path, model_type="llama"))
    assert done.exit_code == 1 and "NOT exact" in done.output


def test_unknown_models_and_places_are_errors(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    build_twin({"model_type": "llama"}, folder, seed=0)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "blt"}))
    done = _run(str(folder))
    assert isinstance(done.exception, AnatomyError) and UNSUPPORTED["blt"].reason in str(done.exception)
    assert isinstance(_run("demo:nobody").exception, SourceError)
    assert _run().exit_code == 2


def test_the_command_is_behind_the_door() -> None:
    assert door.cli.get_command(None, "anatomy") is anatomy  # type: ignore[arg-type]


def test_an_approximate_family_says_so_and_fails(tmp_path: Path) -> None:
    done = _run(_twin(tmp_path, model_type="doge"))
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "APPROXIMATE (it scales the stream coordinate by coordinate" in said
    found = json.loads(_run(_twin(tmp_path, model_type="doge"), "--json").output)["proof"]
    assert not found["exact"] and "scales the stream" in found["approximate"]
    assert 1e-3 < found["max_component"] < found["base_component"]


def test_chains_and_layer_norms_are_named(tmp_path: Path) -> None:
    config = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 8}
    said = " ".join(_run(_twin(tmp_path, model_type="gemma4_text", **config), "--no-proof").output.split())
    assert "the RMSNorm post_feedforward_layernorm_2, whose gain is its weight, then the RMSNorm" in said
    (tmp_path / "other").mkdir()
    said = " ".join(_run(_twin(tmp_path / "other", model_type="bloom"), "--no-proof").output.split())
    assert "behind it the LayerNorm word_embeddings_layernorm" in said


def test_the_page_names_exactly_the_families() -> None:
    text = PAGE.read_text(encoding="utf-8")
    proved, rest = text.split("## Approximate")
    approximate, missing = rest.split("## Refused")
    exact, leaking = (
        dict(re.findall(r"^\| `([^`]+)` \|(.*)\|$", part, flags=re.MULTILINE))
        for part in (proved, approximate)
    )
    reasons = {name: family.approximate for name, family in FAMILIES.items() if family.approximate}
    assert set(leaking) == set(reasons) and set(exact) == set(TRIALS) - set(reasons)
    for cells in exact.values():
        assert re.search(r"\| \d\.\de-(0[6-9]|[1-9]\d) \|", cells), cells
    for name, cells in leaking.items():
        assert re.search(r"\| \d\.\de-0[12] \|", cells) and str(reasons[name]) in cells, cells
    assert set(re.findall(r"`([^`]+)`", missing)) == set(UNSUPPORTED)
    assert all(each.reason in missing and each.instead in missing for each in UNSUPPORTED.values())


def test_the_page_begins_with_what_is_exact_of_what_can_be() -> None:
    from transformers.models.auto import modeling_auto as auto

    head = PAGE.read_text(encoding="utf-8").split("## Proved exact")[0]
    both = (auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    for names in both:
        exact = [name for name in names if name in TRIALS and not _approximate(name)]
        never = [name for name in names if name not in exact and _by_nature(name)]
        can = len(names) - len(never)
        cells = (len(names), len(exact), len(never), f"{len(exact)} of {can} ({len(exact) / can:.1%})")
        assert f"| {' | '.join(map(str, cells))} |" in head
    listed = head.split("## Not exact by nature")[1].split("## Not here for other reasons")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == {n for names in both for n in names if _by_nature(n)}


def _approximate(name: str) -> bool:
    return name in FAMILIES and FAMILIES[name].approximate is not None


def _by_nature(name: str) -> bool:
    return _approximate(name) or (name in UNSUPPORTED and UNSUPPORTED[name].nature)


@pytest.mark.slow
def test_the_page_is_what_the_command_makes() -> None:
    made = re.sub(r"\d\.\de-\d\d", "", families_page())  # the last digits depend on the machine
    assert made == re.sub(r"\d\.\de-\d\d", "", PAGE.read_text(encoding="utf-8"))


def test_transformers_knows_no_model_that_we_say_nothing_about() -> None:
    import transformers
    from transformers.models.auto import modeling_auto as auto

    if not transformers.__version__.startswith("5.23."):
        pytest.skip("the list was made for transformers 5.23")
    causal = set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    seeing = set(auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert set(TRIALS) | set(UNSUPPORTED) == causal | seeing
    assert not set(TRIALS) & set(UNSUPPORTED)
