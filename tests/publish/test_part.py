"""Adapters, dictionaries and directions over HTTP to a Hub on this machine: what is sent, and its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors.numpy import save_file

from surgery.checkpoint.sums import write_sums
from surgery.demo.sources import dictionary_folder
from surgery.direction.direction import unit_direction, write_directions
from surgery.errors import SurgeryError
from surgery.hook_point import HookPoint
from surgery.publish.prospect import prepare_upload
from surgery.publish.upload import Published, carry_out
from tests.edit.edit_sources import contents
from tests.hub.hub_server import Hub

NAME = "tester/made"
# The client's own way of sending a large file, which its HTTP library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    prefix = "base_model.model.model.layers.0.mlp.down_proj.lora_"
    tensors = {f"{prefix}A.weight": np.ones((1, 8), np.float32), f"{prefix}B.weight": np.ones((4, 1))}
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 1, "base_model_name_or_path": "org/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    return Path(shutil.copytree(dictionary_folder("demo:refuser"), tmp_path / "sae"))


@pytest.fixture
def directions(tmp_path: Path) -> Path:
    file = tmp_path / "found.safetensors"
    made = unit_direction(np.arange(1.0, 9.0), HookPoint(4, "resid_pre"), {"find": "weight_difference"})
    write_directions(file, {"refusal": made})
    return file


def _sent(hub: Hub) -> dict[str, bytes]:
    files = {path: blob.data for path, blob in hub.repos[NAME].refs["main"].items()}
    assert "README.md" in files and "SHA256SUMS" in files
    return files


def _publish(place: Path, **options: str) -> Published:
    return carry_out(prepare_upload(place, NAME, **options))  # type: ignore[arg-type]


def _card(hub: Hub) -> ModelCard:
    return ModelCard(_sent(hub)["README.md"].decode())


def test_an_adapter_gets_a_card_that_names_its_base(adapter: Path, hub: Hub) -> None:
    done = _publish(adapter, licence="apache-2.0")
    assert (done.kind, done.private, hub.repos[NAME].private) == ("adapter", True, True)
    data, text = _card(hub).data, _card(hub).text
    assert (data.base_model, data.library_name, data.license) == ("org/base", "peft", "apache-2.0")
    assert data.to_dict()["base_model_relation"] == "adapter" and "lora" in data.tags
    assert f'PeftModel.from_pretrained(base, "{NAME}")' in text and "disable_adapter" in text
    assert "rank `1`, on 1 modules" in text
    assert not (adapter / "README.md").exists()
    assert {name for name, data in contents(adapter).items() if _sent(hub)[name] == data} == set(
        contents(adapter)
    )


def test_a_readme_without_a_title_gets_one(adapter: Path, hub: Hub) -> None:
    (adapter / "README.md").write_text("## What changed\n\nMuch.\n")
    text = ModelCard(prepare_upload(adapter, NAME).bundle.card).text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == ["# LoRA adapter", "## What changed", "## Use"] and "Much." in text


def test_a_folder_as_base_is_asked_about(adapter: Path, hub: Hub) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": "/home/me/model"})
    )
    prospect = prepare_upload(adapter, NAME)
    assert "is no Hub id: say which it is by --base organisation/name" in " ".join(prospect.notes)
    assert "base_model_relation" not in prospect.bundle.fields
    assert prepare_upload(adapter, NAME, base="org/base").bundle.fields["base_model_relation"] == "adapter"
    with pytest.raises(SurgeryError, match="--base base: is no Hub id"):
        prepare_upload(adapter, NAME, base="base")


def test_a_dictionary_keeps_its_readme_and_gets_what_the_hub_reads(dictionary: Path, hub: Hub) -> None:
    done = _publish(dictionary, base="org/base", licence="mit")
    assert done.kind == "dictionary"
    data, text = _card(hub).data, _card(hub).text
    assert (data.library_name, data.base_model, data.license) == ("saelens", "org/base", "mit")
    assert {"sparse-autoencoder", "topk"} <= set(data.tags)
    numbers = json.loads((dictionary / "metrics.json").read_text())
    assert {each.metric_type: each.metric_value for each in data.eval_results}["fvu"] == pytest.approx(
        numbers["fvu"], abs=1e-6
    )
    assert (dictionary / "README.md").read_text().strip() in text
    assert f'snapshot_download("{NAME}")' in text and "`blocks.4.hook_resid_pre`" in text
    assert _sent(hub)["cfg.json"] == (dictionary / "cfg.json").read_bytes()


def test_a_dictionary_without_a_readme_gets_one(dictionary: Path, hub: Hub) -> None:
    for name in ("README.md", "metrics.json"):
        (dictionary / name).unlink()
    card = prepare_upload(dictionary, NAME).bundle.card
    assert "# Sparse dictionary" in card and "Nothing was measured on it." in card
    assert "1,024 features, width 128" in card and "model-index" not in card


def test_directions_are_described(directions: Path, hub: Hub) -> None:
    _publish(directions, base="org/base", licence="mit")
    assert _sent(hub).keys() == {".gitattributes", "README.md", "SHA256SUMS", "found.safetensors"}
    data, text = _card(hub).data, _card(hub).text
    assert (data.library_name, data.base_model) == ("surgery", "org/base")
    assert f"| `refusal` | 8 | `{HookPoint(4, 'resid_pre')}` |" in text
    assert "`weight_difference`" in text and f'hf download "{NAME}" "found.safetensors"' in text


def test_what_does_not_belong_to_it_is_named_and_not_sent(dictionary: Path, hub: Hub) -> None:
    (dictionary / "secrets.env").write_text("x")
    (dictionary / "LICENSE").write_text("do")
    prospect = prepare_upload(dictionary, NAME)
    assert "not sent, since it belongs to no dictionary: secrets.env" in prospect.notes
    assert "secrets.env" not in prospect.bundle.files and "LICENSE" in prospect.bundle.files


def test_a_file_that_was_changed_since_its_manifest_stops_it(dictionary: Path, hub: Hub) -> None:
    write_sums(dictionary)
    assert not prepare_upload(dictionary, NAME).problems
    (dictionary / "cfg.json").write_text((dictionary / "cfg.json").read_text() + " ")
    with pytest.raises(SurgeryError, match=r"cfg\.json: its bytes are not those that SHA256SUMS lists"):
        _publish(dictionary)


def test_the_same_again_sends_nothing(adapter: Path, hub: Hub) -> None:
    _publish(adapter)
    done = _publish(adapter)
    assert (done.pull_request, done.sent_bytes) == (None, 0)


@pytest.mark.parametrize("damage", ["adapter_model.safetensors", "adapter_config.json"])
def test_what_cannot_be_read_is_not_published(adapter: Path, hub: Hub, damage: str) -> None:
    (adapter / damage).write_bytes((adapter / damage).read_bytes()[:-3])
    with pytest.raises(SurgeryError, match=damage):
        prepare_upload(adapter, NAME)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(SurgeryError, match="only safetensors are published"):
        prepare_upload(adapter, NAME)
    assert not hub.log


def test_nothing_in_a_file_ends_the_code_it_is_quoted_in(adapter: Path, hub: Hub) -> None:
    config = {"peft_type": "`\n# Fake\n[a](http://b)", "r": 1, "base_model_name_or_path": "`x`"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    lines = prepare_upload(adapter, NAME).bundle.card.splitlines()
    assert not [line for line in lines if line.startswith("# Fake")]


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "adapter_model.safetensors"])
def test_a_link_that_leads_out_is_never_followed(adapter: Path, tmp_path: Path, hub: Hub, name: str) -> None:
    (tmp_path / "secret").write_text("not meant for anybody")
    (adapter / name).unlink(missing_ok=True)
    (adapter / name).symlink_to(tmp_path / "secret")
    with pytest.raises(SurgeryError):
        _publish(adapter, licence="mit")
    assert NAME not in hub.repos


def test_a_link_inside_the_folder_is_followed(adapter: Path, hub: Hub) -> None:
    (adapter / "blob").write_text("Apache 2.0")
    (adapter / "LICENSE").symlink_to("blob")
    _publish(adapter, licence="apache-2.0")
    assert _sent(hub)["LICENSE"] == b"Apache 2.0"
