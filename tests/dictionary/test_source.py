"""From a name to a place: the Hub's, a folder's, a file's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from surgery import open_dictionary
from surgery.demo.sources import dictionary_folder
from surgery.dictionary.facts import Facts
from surgery.errors import DictionaryError, SourceError
from surgery.hook_point import HookPoint


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A folder with two dictionaries in it."""
    for name in ("layer_1/a", "layer_2/b"):
        shutil.copytree(dictionary_folder("demo:refuser"), tmp_path / name)
    return tmp_path


def test_a_hub_source_fetches_only_the_path_asked_for(several: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: dict[str, Any] = {}

    def snapshot_download(source: str, **named: Any) -> str:
        asked.update(named, source=source)
        return str(several)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr("surgery.dictionary.source.repository_files", lambda source, revision: ())
    found = open_dictionary("org/dictionaries", revision="abc", path="layer_2/b/")
    assert found.name == "org/dictionaries/layer_2/b" and found.commit == several.name
    assert asked == {
        "source": "org/dictionaries",
        "revision": "abc",
        "allow_patterns": ["layer_2/b", "layer_2/b/*"],
    }


@pytest.mark.parametrize(
    ("files", "path", "refused"),
    [
        (["README.md", "layer_1/w/params.npz", "layer_2/w/params.npz"], None, "layer_1/w, layer_2/w"),
        (["layer_1/a/params.npz", "layer_1/b/params.npz", "layer_2/params.npz"], "layer_1", "layer_1/a"),
        (["layer_1/a/params.npz", "layer_2/a/params.npz"], "layer_2/a", None),
        (["L1/checkpoints/final.safetensors", "L2/checkpoints/final.safetensors"], None, "L1, L2"),
        (["layer0.sae.pt", "layer1.sae.pt"], None, "layer0.sae.pt, layer1.sae.pt"),
        (["layer0.sae.pt", "layer1.sae.pt"], "layer1.sae.pt", None),
        (["sae_weights.safetensors", "trainer_state.pt", "old/sae_weights.safetensors"], None, None),
        (["layers.1/sae.safetensors", "layers.2/sae.safetensors", "state.pt"], None, "layers.1, layers.2"),
        ([], None, None),
    ],
)
def test_a_repository_of_several_is_not_downloaded(
    monkeypatch: pytest.MonkeyPatch, files: list[str], path: str | None, refused: str | None
) -> None:
    def fetched(*_: object, **__: object) -> None:
        raise SourceError("it was asked for")

    monkeypatch.setattr("surgery.dictionary.source.repository_files", lambda source, revision: files)
    monkeypatch.setattr("surgery.dictionary.source.fetch_dictionary", fetched)
    error = SourceError if refused is None else DictionaryError
    with pytest.raises(error, match=re.escape("it was asked for" if refused is None else refused)):
        open_dictionary("org/name", path=path)


def test_a_place_with_several_asks_which(several: Path) -> None:
    with pytest.raises(
        DictionaryError, match=r"holds 2 dictionaries \(layer_1/a, layer_2/b\); name one with --path"
    ):
        open_dictionary(str(several))
    assert open_dictionary(str(several), path="layer_1/a").d_model == 128
    weights = several / "layer_1/a/sae_weights.safetensors"
    assert open_dictionary(str(weights)).d_model == 128


def test_a_path_that_leads_nowhere_or_out_is_refused(several: Path) -> None:
    with pytest.raises(SourceError, match="nothing under that path"):
        open_dictionary(str(several), path="layer_3")
    with pytest.raises(SourceError, match="cannot lead out"):
        open_dictionary(str(several), path="../other")


def test_facts_override_what_the_files_say() -> None:
    said = Facts(hook_point=HookPoint(1, "resid_post"), k=3)
    found = open_dictionary("demo:refuser", facts=said)
    assert (found.hook_point, found.k) == (HookPoint(1, "resid_post"), 3)


def test_only_a_transcoder_writes_elsewhere() -> None:
    with pytest.raises(DictionaryError, match="no transcoder"):
        open_dictionary("demo:refuser", facts=Facts(output_point=HookPoint(2, "mlp_out")))
