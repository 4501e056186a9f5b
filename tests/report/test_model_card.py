from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from surgery.report.card import front_matter, model_card, write_card
from surgery.report.licence import read_licence
from surgery.report.model_index import model_index
from surgery.report.report import Report
from surgery.report.statements import failed_gates
from surgery.report.steps import Effect
from surgery.verify.statistics import Estimate


def _from_hub(report: Report, form: str = "checkpoint") -> Report:
    model = replace(report.model, source="org/some-model", commit="c" * 40)
    return replace(report, model=model, output=replace(report.output, form=form))


def _front(text: str) -> Any:
    return yaml.safe_load(text.split("---\n")[1])


def test_front_matter_of_a_checkpoint(report: Report) -> None:
    assert _front(model_card(_from_hub(report))) == {
        "base_model": "org/some-model",
        "base_model_relation": "finetune",
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["surgery", "abliterated"],
        "model-index": model_index(report),
    }


def test_the_hubs_client_reads_what_was_measured(report: Report) -> None:
    assert report.verification is not None
    data = ModelCard(model_card(_from_hub(report))).data
    found = {(each.dataset_type, each.metric_type): each for each in data.eval_results}
    refusals = found["demo:harmful_test", "refusal_rate"]
    row = report.verification.rows[0]
    assert row.edited is not None and refusals.metric_value == row.edited.value
    assert "base model 100.0 %, 95 % interval 0.0 % to 3.6 %" in refusals.metric_name
    assert found["demo:quiz", "accuracy"].task_name == "Multiple choice"
    assert data.model_name == "refusal_k2"


def test_a_gate_more_is_no_number_more(report: Report) -> None:
    assert report.verification is not None
    first = report.verification.rows[0]
    change = replace(first, label="refusal, harmful, change", base=None, edited=None)
    again = replace(first, label="refusal, harmful, level", base=None, change=None)
    rows = (first, change, again)
    gated = replace(report, verification=replace(report.verification, rows=rows))
    (result,) = model_index(gated)[0]["results"]
    assert len(result["metrics"]) == 1


def test_a_dataset_of_the_hub_is_named_by_its_id(report: Report) -> None:
    source = {"source": "org/set", "file": "a.csv", "revision": "main"}
    found = model_index(replace(report, measured_on={"refusal": source}))
    dataset = found[0]["results"][0]["dataset"]
    assert dataset == {"type": "org/set", "name": "org/set, a.csv", "revision": "main"}
    assert model_index(replace(report, verification=None)) == []


@pytest.mark.parametrize(("strength", "words"), [(0.5, "strength -1 along"), (-1.0, "strength 0.5 along")])
def test_what_was_weakened_can_be_brought_back(report: Report, strength: float, words: str) -> None:
    edits = tuple(replace(each, strengths=(strength,)) for each in report.edit.edits)
    effects = (Effect("weakened", "refusal", strength),)
    weakened = replace(report, edit=replace(report.edit, effects=effects, edits=edits))
    assert words in model_card(weakened)
    assert "is gone from these weights" in model_card(report)


def test_licence_files_are_named_where_they_stand(report: Report) -> None:
    model = replace(report.model, licence="Our Own Licence 2")
    output = replace(report.output, files=("LICENSE.txt", "NOTICE", "config.json"))
    found = replace(report, model=model, output=output)
    assert front_matter(found)["license_link"] == "LICENSE.txt"
    assert "[LICENSE.txt](LICENSE.txt), [NOTICE](NOTICE)." in model_card(found)


def test_front_matter_of_an_adapter(report: Report) -> None:
    steered = replace(report, edit=replace(report.edit, effects=(Effect("added", "agree", None, 3),)))
    found = front_matter(_from_hub(steered, "peft"))
    assert (found["base_model_relation"], found["library_name"]) == ("adapter", "peft")
    assert found["tags"] == ["surgery", "steered"]
    card = model_card(_from_hub(steered, "peft"))
    assert "PeftModel.from_pretrained(base" in card and "disable_adapter" in card
    assert "PEFT merges an added vector only into a layer that has a bias of its own" in card
    assert "PEFT merges" not in model_card(_from_hub(report, "peft"))


def test_a_folder_is_no_base_model_of_the_hub(report: Report) -> None:
    assert not {"base_model", "base_model_relation"} & front_matter(report).keys()
    local = replace(report, model=replace(report.model, source="/home/me/models/x"))
    assert "base_model" not in front_matter(local)
    adapter = replace(report, output=replace(report.output, form="peft"))
    assert 'model_folder("demo:refuser")' in model_card(adapter)


def test_the_hub_reads_the_card(report: Report) -> None:
    card = ModelCard(model_card(_from_hub(report)))
    assert card.data.base_model == "org/some-model"
    assert card.data.license == "apache-2.0"
    assert card.text.lstrip().startswith("# refusal")


def test_a_licence_without_an_identifier_is_other(report: Report) -> None:
    found = front_matter(replace(report, model=replace(report.model, licence="Our Own Licence 2")))
    assert (found["license"], found["license_name"]) == ("other", "Our Own Licence 2")
    unknown = replace(report, model=replace(report.model, licence=None))
    assert "license" not in front_matter(unknown)
    assert "licence is not stated" in model_card(unknown)


def test_a_failed_gate_is_said_first(failed: Report, report: Report) -> None:
    lines = [line for line in model_card(failed).split("---\n", 2)[2].splitlines() if line]
    assert lines[0] == "# refusal_k2"
    assert lines[1].startswith(
        "**This result failed a check that its recipe demands:** refusal, harmful is 42.0 % and was to be"
    )
    assert "failed a check" not in model_card(report)


def test_a_failed_change_is_said_in_points(failed: Report) -> None:
    assert failed.verification is not None
    row = next(row for row in failed.verification.rows if row.gate is not None and row.change is not None)
    assert row.gate is not None and row.change is not None
    gate = replace(row.gate, held=row.change, text="≥ +50 %", verdict="fail")
    rows = (replace(row, gate=gate),)
    found = failed_gates(replace(failed, verification=replace(failed.verification, rows=rows)))
    assert re.fullmatch(r".* changed by \S+ points and was to change by ≥ \+50 % \(fail.*\)", found[0])


def test_several_directions_are_several(report: Report) -> None:
    assert "a direction of the residual stream was found" in model_card(report)
    two = replace(report, directions=report.directions * 2)
    assert "2 directions of the residual stream were found, and the weights were edited along them" in (
        model_card(two)
    )


def test_the_card_says_what_was_removed_and_what_it_means(report: Report) -> None:
    card = model_card(report)
    assert "The direction `refusal` was removed from" in card
    assert (
        "Refusals of harmful requests fell from 100.0 % to 0.0 %"
        " (change −100.0 [−100.0, −96.3] points, n = 100)." in card
    )
    assert "Refusals of harmless requests: 0.0 % before, 0.0 % after; no change was shown" in card
    assert "It answers requests that its base model declines" in card
    assert "fewer safeguards than its base" in " ".join(card.split())


def test_a_claim_needs_an_interval_on_one_side_of_zero(report: Report) -> None:
    assert report.verification is not None
    row = replace(report.verification.rows[0], change=Estimate(-0.01, -0.04, 0.02))
    card = model_card(replace(report, verification=replace(report.verification, rows=(row,))))
    assert "no change was shown" in card and "answers requests that its base" not in card
    more = replace(row, change=Estimate(0.2, 0.1, 0.3))
    card = model_card(replace(report, verification=replace(report.verification, rows=(more,))))
    assert (
        "rose from" in card and "It declines more of the harmful requests than its base model does." in card
    )


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (Effect("weakened", "x", 0.5), "The direction `x` was weakened in"),
        (Effect("strengthened", "x", -1.0), "The direction `x` was strengthened in"),
        (Effect("strengthened", "x", -1.0), "(directional ablation, strength −1)"),
        (Effect("reversed", "x", 2.0), "The direction `x` was reversed in"),
        (
            Effect("unchanged", "x", 0.0),
            "The direction `x` was left as it is (directional ablation, strength 0)",
        ),
        (
            Effect("added", "x", None, 3, length="0.5 × its own length"),
            "A vector along the direction `x` (0.5 × its own length) was added to the output of layer 3.",
        ),
    ],
)
def test_each_effect_has_its_words(report: Report, effect: Effect, words: str) -> None:
    assert words in model_card(replace(report, edit=replace(report.edit, effects=(effect,))))


def test_the_table_has_every_row_gate_and_the_detector(report: Report) -> None:
    card = model_card(report)
    assert report.verification is not None
    table = [line for line in card.splitlines() if line.startswith("| ")]
    assert len(table) == 1 + len(report.verification.rows) + len(report.verification.controls)
    assert len({line.count(" | ") for line in table}) == 1
    assert (
        "| refusal, harmless | 0.0 % [0.0, 3.6] | 0.0 % [0.0, 3.6] | 0.0 [−3.7, 3.7]"
        " | 100 | ≤ +2 % | inconclusive, needs n ≥ 180 |" in table
    )
    assert "precision 0.968, recall 0.914" in card


def test_what_was_not_asked_is_listed(report: Report) -> None:
    assert "Not measured: which of two answers it prefers." in model_card(report)
    bare = model_card(replace(report, verification=None))
    assert "**Nothing was measured on this result.**" in bare
    assert "whether it refuses harmful requests; whether it refuses harmless requests;" in bare


def test_foreign_text_adds_no_markup(example: ModuleType) -> None:
    hostile = "x\n# Fake heading\n---\nlicense: mit\n``` ````\n<script>alert(1)</script> [a](http://b) | c"
    card = model_card(example.hostile_report(hostile))
    front = _front(card)
    assert front["license"] == "other" and front["license_name"] == " ".join(hostile.split())
    outside, inside, fence = [], False, ""
    for line in card.split("---\n", 2)[2].splitlines():
        if not inside and line.startswith("```"):
            inside, fence = True, line.rstrip("abcdefghijklmnopqrstuvwxyz")
        elif inside and line == fence:
            inside = False
        elif not inside:
            outside.append(line)
    assert not inside
    assert "# Fake heading" not in outside and "license: mit" not in outside
    assert all("<script>" not in line or "`" in line for line in outside)


def test_the_card_is_written_and_names_the_base_card(report: Report, tmp_path: Path) -> None:
    write_card(report, tmp_path)
    assert "base_README" not in (tmp_path / "README.md").read_text()
    (tmp_path / "surgery").mkdir()
    (tmp_path / "surgery" / "base_README.md").write_text("# base")
    write_card(report, tmp_path)
    assert "(surgery/base_README.md)" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", "apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: gemma\n---\n", "gemma"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: [mit]\n---\n", None),
        ("---\n: : :\n---\n", None),
        ("---\n- a\n---\n", None),
        ("# no front matter\nlicense: mit\n", None),
        (None, None),
    ],
)
def test_the_licence_of_the_base(tmp_path: Path, text: str | None, licence: str | None) -> None:
    if text is not None:
        (tmp_path / "README.md").write_bytes(text.encode())
    assert read_licence(tmp_path) == licence
