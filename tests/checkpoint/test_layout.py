"""Opening folders: the two layouts, what is copied and what is not, and every folder that must be refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surgery.checkpoint.header import MAX_HEADER_BYTES
from surgery.checkpoint.layout import INDEX_FILE, open_checkpoint
from surgery.errors import CheckpointError
from tests.checkpoint.checkpoint_files import pack, write_index


def test_opens_a_single_file(single: Path) -> None:
    checkpoint = open_checkpoint(single)
    assert list(checkpoint.headers) == ["model.safetensors"]
    assert checkpoint.config["model_type"] == "llama"
    assert checkpoint.side_files == ("config.json",)
    assert checkpoint.shapes == {"a": (2, 3), "b": (4,)}
    assert checkpoint.total_bytes == sum(path.stat().st_size for path in single.iterdir())


def test_opens_shards(sharded: Path) -> None:
    checkpoint = open_checkpoint(sharded)
    file, entry = checkpoint.entry("b")
    assert (file, entry.shape) == ("two.safetensors", (2,))
    assert checkpoint.side_files == ("config.json", INDEX_FILE)
    with pytest.raises(CheckpointError, match="no tensor 'c'"):
        checkpoint.entry("c")


def test_opens_an_index_that_lists_the_single_file(single: Path) -> None:
    write_index(single, {"a": "model.safetensors", "b": "model.safetensors"})
    assert set(open_checkpoint(single).tensors) == {"a", "b"}


def test_keeps_strange_files_and_leaves_other_weights_out(single: Path) -> None:
    kept = [
        "LICENSE",
        "a b ü.txt",
        ".gitattributes",
        "modeling.py",
        "additional_chat_templates/tool.jinja",
        "x/y/z",
    ]
    out = [
        "pytorch_model.bin",
        "original/c.00.pth",
        "consolidated.safetensors",
        "m.gguf",
        ".git/HEAD",
        "surgery/plan.json",
    ]
    for name in (*kept, *out):
        (single / name).parent.mkdir(parents=True, exist_ok=True)
        (single / name).write_text(name)
    os.mkfifo(single / "pipe")
    (single / "loop").symlink_to(single)
    checkpoint = open_checkpoint(single)
    assert checkpoint.side_files == tuple(sorted([*kept, "config.json"]))
    assert set(checkpoint.left_out) == {*out[:4], ".git/", "surgery/", "pipe", "loop/"}


def test_follows_links_as_the_hub_cache_lays_them(single: Path, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    (single / "model.safetensors").rename(blob)
    (single / "model.safetensors").symlink_to(blob)
    assert set(open_checkpoint(single).tensors) == {"a", "b"}
    blob.unlink()
    with pytest.raises(CheckpointError, match="incomplete"):
        open_checkpoint(single)


@pytest.mark.parametrize(
    "shard",
    [
        "../one.safetensors",
        "x/../../one.safetensors",
        "/etc/one.safetensors",
        "C:one.safetensors",
        "C:\\one.safetensors",
        "\\\\host\\share\\one.safetensors",
        "..\\one.safetensors",
        "./one.safetensors",
        "one.safetensors\n",
        "one\0.safetensors",
        "one.bin",
        "one.SAFETENSORS",
        "",
    ],
)
def test_refuses_paths_that_leave_the_folder(sharded: Path, shard: str) -> None:
    write_index(sharded, {"a": shard, "b": "two.safetensors"})
    with pytest.raises(CheckpointError, match="do not trust this checkpoint"):
        open_checkpoint(sharded)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"a": "two.safetensors", "b": "one.safetensors"}, "but the index says two.safetensors"),
        (
            {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"},
            "'c' should be in two.safetensors",
        ),
        ({"a": "one.safetensors", "b": "three.safetensors"}, "'three.safetensors', which is not there"),
        ({}, "is empty"),
        ({"a": 1}, "no weight_map"),
        ([], "no weight_map"),
    ],
)
def test_refuses_an_index_that_disagrees_with_the_files(sharded: Path, table: Any, said: str) -> None:
    write_index(sharded, table)
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(sharded)


def test_refuses_a_tensor_that_the_index_does_not_know(sharded: Path) -> None:
    entries = {
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    }
    (sharded / "two.safetensors").write_bytes(pack(entries, b"\3" * 16))
    with pytest.raises(CheckpointError, match=r"'a' stands in two\.safetensors, but the index says one"):
        open_checkpoint(sharded)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"weight_map": {"a": "one.safetensors", "a": "one.safetensors"}}', "stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "not valid JSON"),
        ("[]", "no weight_map"),
    ],
)
def test_refuses_a_malformed_index(sharded: Path, text: str, said: str) -> None:
    (sharded / INDEX_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(sharded)


def test_reads_an_index_of_very_many_experts(sharded: Path) -> None:
    """Kimi K2 has 140,000 names in it, some 13 MB."""
    write_index(sharded, {"a": "one.safetensors", "b": "two.safetensors"}, note="x" * 13_000_000)
    assert set(open_checkpoint(sharded).tensors) == {"a", "b"}


@pytest.mark.parametrize("name", [INDEX_FILE, "config.json"])
def test_refuses_a_table_above_the_cap_unread(sharded: Path, name: str) -> None:
    os.truncate(sharded / name, MAX_HEADER_BYTES + 1)
    with pytest.raises(CheckpointError, match="at most 100,000,000 are read"):
        open_checkpoint(sharded)


def test_refuses_two_layouts_at_once(sharded: Path) -> None:
    (sharded / "model.safetensors").write_bytes((sharded / "one.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"both model\.safetensors and an index"):
        open_checkpoint(sharded)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "is no checkpoint"),
        (["pytorch_model.bin"], r"pickles \(pytorch_model.bin\).*save_pretrained"),
        (["m.gguf"], "GGUF"),
        (["adapter_config.json", "adapter_model.safetensors"], "merge it into its base"),
        (["other.safetensors"], "nor an model.safetensors.index.json"),
    ],
)
def test_says_what_a_folder_without_a_checkpoint_is(tmp_path: Path, files: list[str], said: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(tmp_path)


def test_refuses_what_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        open_checkpoint(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is not a folder"):
        open_checkpoint(tmp_path / "file")


@pytest.mark.parametrize(
    ("text", "said"), [("[]", "not a JSON object"), ("{", "not valid JSON"), (None, "has no config")]
)
def test_needs_a_config(single: Path, text: str | None, said: str) -> None:
    (single / "config.json").unlink()
    if text is not None:
        (single / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(single)


@pytest.mark.parametrize("written", ["Infinity", '{"__float__": "Infinity"}'])
def test_a_config_may_hold_an_infinity(single: Path, written: str) -> None:
    """Mamba-2's `time_step_limit`, as transformers 4 and as transformers 5 write it."""
    text = f'{{"model_type": "mamba2", "time_step_limit": [0.0, {written}]}}'
    (single / "config.json").write_text(text)
    assert open_checkpoint(single).config["time_step_limit"] == [0.0, float("inf")]
    (single / INDEX_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=r"is not JSON|has no weight_map"):
        open_checkpoint(single)


def test_a_folder_that_cannot_be_listed_is_refused(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it would be missing in every copy, unsaid."""
    (single / "templates").mkdir()
    real = os.scandir

    def guarded(path: Any) -> Any:
        if os.fspath(path).endswith("templates"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(CheckpointError, match="templates: cannot be listed"):
        open_checkpoint(single)


def test_opening_imports_no_tensor_library(single: Path) -> None:
    code = (
        "import sys, pathlib; from surgery.checkpoint.layout import open_checkpoint;"
        f"open_checkpoint(pathlib.Path({str(single)!r}));"
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode
        == 0
    )


_INDEX = json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}).encode()


@settings(max_examples=700, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(_INDEX)), removed=st.integers(0, 8), added=st.binary(max_size=8))
def test_a_mutated_index_is_read_or_refused_and_never_crashes(
    sharded: Path, place: int, removed: int, added: bytes
) -> None:
    (sharded / INDEX_FILE).write_bytes(_INDEX[:place] + added + _INDEX[place + removed :])
    try:
        file, _ = open_checkpoint(sharded).entry("a")
    except CheckpointError as error:
        file = str(error)
    assert file == "one.safetensors" or file.startswith(str(sharded))
