"""What no reader takes: pickles with code, folders without a dictionary, crosscoders, unknown formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from surgery import open_dictionary
from surgery.demo.sources import dictionary_folder
from surgery.dictionary.facts import Facts
from surgery.dictionary.weights import open_weights
from surgery.errors import DictionaryError
from tests.dictionary.plain import (
    D_MODEL,
    N_FEATURES,
    TRUSTED,
    torch_save,
)


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    import torch

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"encoder.weight": Trap()}, tmp_path / "8.pt")
    with pytest.raises(DictionaryError, match="not opened"):
        open_dictionary(str(tmp_path / "8.pt"), facts=TRUSTED)
    assert not (tmp_path / "sprung").exists()


def test_old_pickles_are_read_and_damaged_ones_named(tmp_path: Path) -> None:
    import torch

    file = tmp_path / "8.pt"
    torch.save({"b": torch.ones(3), "k": 4}, file, _use_new_zipfile_serialization=False)
    held = open_weights(file, "it", trust_pickle=True)
    assert held.array("b").tolist() == [1, 1, 1] and held.plain == {"k": 4}
    whole = file.read_bytes()
    for damaged in (b"", b"junk", b"PK\x03\x04zz", whole[:40], whole[:-3], whole[7:]):
        file.write_bytes(damaged)
        with pytest.raises(DictionaryError, match=r"it: 8\.pt holds more than tensors .*, or is damaged"):
            open_weights(file, "it", trust_pickle=True)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": b"x"}, "no dictionary of a known format is there .*it holds: readme.txt"),
        ({"cfg.json": b"{}", "sparsity.safetensors": b"x"}, "has a configuration and no weights"),
        ({"cfg.json": b"{}", "sae_weights.safetensors": b"x"}, "cannot be read|says no architecture"),
        ({"params.npz": b"PK"}, "params.npz cannot be read"),
        ({"sae_weights.safetensors": b"12"}, "sae_weights.safetensors cannot be read"),
    ],
)
def test_what_is_no_dictionary_is_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DictionaryError, match=message):
        open_dictionary(str(tmp_path))


def test_the_files_of_two_formats_ask_which(tmp_path: Path) -> None:
    for file in dictionary_folder("demo:refuser").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "ae.pt").write_bytes(b"of the one it was converted from")
    with pytest.raises(DictionaryError, match=r"several formats .*dictionary_learning, saelens.*--format"):
        open_dictionary(str(tmp_path))
    assert open_dictionary(str(tmp_path), facts=Facts(format="saelens")).format == "saelens"


def test_a_file_of_another_kind_is_not_looked_beside(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "params.npz").write_bytes(b"PK")
    with pytest.raises(DictionaryError, match=r"a \.txt file is no dictionary's"):
        open_dictionary(str(tmp_path / "notes.txt"))


@pytest.mark.parametrize("kind", ["saelens", "dictionary_learning", "gemma_scope_2", "llama_scope"])
def test_a_crosscoder_is_refused_with_what_would_help(tmp_path: Path, draw: Any, kind: str) -> None:
    """A matrix for each of two places, in the spelling of each format that has them."""
    enc, dec = draw(2, D_MODEL, N_FEATURES), draw(2, N_FEATURES, D_MODEL)
    biases = {"b_enc": draw(N_FEATURES), "b_dec": draw(2, D_MODEL)}
    (tmp_path / "checkpoints").mkdir()
    if kind == "saelens":
        save_file({"W_enc": enc, "W_dec": dec, **biases}, tmp_path / "sae_weights.safetensors")
        (tmp_path / "cfg.json").write_text(json.dumps({"architecture": "crosscoder", "metadata": {}}))
    elif kind == "dictionary_learning":
        torch_save(tmp_path / "ae.pt", {"encoder.weight": enc, "decoder.weight": dec})
        (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "BatchTopKCrossCoder"}}))
    elif kind == "gemma_scope_2":
        save_file({"w_enc": enc, "w_dec": dec, **biases}, tmp_path / "params.safetensors")
        (tmp_path / "config.json").write_text(json.dumps({"architecture": "jump_relu"}))
    else:
        linear = {"encoder.weight": enc, "decoder.weight": dec}
        save_file(linear, tmp_path / "checkpoints/final.safetensors")
        (tmp_path / "hyperparams.json").write_text("{}")
    with pytest.raises(DictionaryError, match=r"crosscoder.*one place as a SAELens folder"):
        open_dictionary(str(tmp_path), facts=TRUSTED)


def test_a_format_can_be_named_and_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="no format is called 'saelen'; known: saelens"):
        open_dictionary(str(tmp_path), facts=Facts(format="saelen"))
