"""What somebody who publishes is told about the base."""

from __future__ import annotations

from pathlib import Path

from surgery.checkpoint.layout import Checkpoint
from surgery.publish.prospect import prepare_upload
from tests.hub.hub_server import Blob, Fault, Hub, Repo
from tests.publish.results import CARD, make_publishable

NAME = "tester/made"


def _notes(folder: Path, name: str = NAME) -> str:
    return " ".join(prepare_upload(folder, name).notes)


def test_a_gated_base_is_named(result: Path, hub: Hub) -> None:
    hub.repos["org/base"] = Repo(private=False, gated="manual")
    assert "the base org/base is gated (manual): --gated manual gates this one too" in _notes(result)
    assert "gated" not in " ".join(prepare_upload(result, NAME, gated="manual").notes)
    hub.repos["org/base"].gated = False
    assert "gated" not in _notes(result)


def test_a_rule_of_names_is_pointed_out(base: Checkpoint, tmp_path: Path, hub: Hub) -> None:
    folder = make_publishable(base, tmp_path / "out", card=CARD.replace("apache-2.0", "llama3.1"))
    assert "begin with 'Llama'" in _notes(folder)
    assert "begin with" not in _notes(folder, "tester/Llama-made")


def test_a_card_without_a_licence_is_pointed_out(base: Checkpoint, tmp_path: Path, hub: Hub) -> None:
    folder = make_publishable(base, tmp_path / "out", card=CARD.replace("license: apache-2.0\n", ""))
    assert "the card names no licence" in _notes(folder)


def test_a_legal_file_that_is_not_carried_is_named(result: Path, hub: Hub) -> None:
    legal = {name: Blob(b"x", False) for name in ("NOTICE", "LICENSE", "config.json", "USE_POLICY.md")}
    hub.repos["org/base"] = Repo(private=False, refs={"main": legal})
    assert "the base carries NOTICE, USE_POLICY.md, which this does not" in _notes(result)


def test_a_base_that_cannot_be_looked_up_stops_nothing(result: Path, hub: Hub) -> None:
    hub.repos["org/base"] = Repo(private=False)
    hub.repos[NAME] = Repo(private=True)
    hub.faults += [Fault("info", cut="skip"), Fault("info", status=403)]
    assert "could not be looked up" in _notes(result)
