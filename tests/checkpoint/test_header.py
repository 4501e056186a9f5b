"""The strict header reader: what the format allows, every attack it must refuse, mutations of a good file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from surgery.checkpoint import header
from surgery.checkpoint.header import MAX_HEADER_BYTES, read_header
from surgery.errors import CheckpointError
from tests.checkpoint.checkpoint_files import BODY, TABLE, pack

Write = Callable[..., Path]


def _with(name: str, **changes: Any) -> dict[str, Any]:
    return {**TABLE, name: {**TABLE[name], **changes}}  # type: ignore[dict-item]


def test_reads_what_the_reference_writer_wrote(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "m.safetensors"
    tensors = {
        "w": torch.arange(6.0).reshape(2, 3),
        "b": torch.zeros(3, dtype=torch.bfloat16),
        "none": torch.empty(0, 4),
    }
    save_file(tensors, path, metadata={"format": "pt", "note": "ü"})
    found = read_header(path)
    assert found.metadata == {"format": "pt", "note": "ü"}
    assert {name: (e.dtype, e.shape) for name, e in found.tensors.items()} == {
        "w": ("F32", (2, 3)),
        "b": ("BF16", (3,)),
        "none": ("F32", (0, 4)),
    }
    data = path.read_bytes()
    entry = found.tensors["w"]
    assert data[entry.start : entry.end] == tensors["w"].numpy().tobytes()
    assert data.startswith(found.raw) and found.file_bytes == len(data)


@pytest.mark.parametrize("pad", [0, 1, 7, 4000])
def test_accepts_unaligned_and_padded_headers(write: Write, pad: int) -> None:
    found = read_header(write(json.dumps(TABLE).encode() + b" " * pad))
    assert found.tensors["b"].end == found.file_bytes


def test_accepts_a_header_at_the_cap(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(TABLE).encode()
    monkeypatch.setattr(header, "MAX_HEADER_BYTES", len(text))
    assert set(read_header(write(text)).tensors) == {"a", "b"}
    with pytest.raises(CheckpointError, match="the format allows"):
        read_header(write(text + b" "))


def test_accepts_a_file_without_tensors(write: Write) -> None:
    assert read_header(write({}, b"")).tensors == {}


TEXT = json.dumps(TABLE)
ATTACKS: dict[str, tuple[Any, bytes, int | None]] = {
    "trailing bytes": (TABLE, BODY + b"\0", None),
    "file too short": (TABLE, BODY[:-1], None),
    "hole": ({**TABLE, "b": {"dtype": "BF16", "shape": [4], "data_offsets": [26, 34]}}, BODY + b"\0\0", None),
    "hole at the start": ({"a": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]}}, b"\0\0", None),
    "overlap": ({**TABLE, "b": {"dtype": "BF16", "shape": [4], "data_offsets": [20, 28]}}, BODY[:28], None),
    "alias": ({**TABLE, "c": TABLE["b"]}, BODY, None),
    "out of bounds": (_with("b", data_offsets=[24, 1 << 40], shape=[1 << 39]), BODY, None),
    "size and shape disagree": (_with("a", shape=[2, 4]), BODY, None),
    "shape overflows": (_with("a", shape=[1 << 33, 1 << 33]), BODY, None),
    "shape overflows before a zero": (
        _with("a", shape=[1 << 40, 1 << 40, 0], data_offsets=[0, 0]),
        BODY,
        None,
    ),
    "huge dimension after a zero": (_with("a", shape=[0, 1 << 65], data_offsets=[0, 0]), BODY, None),
    "negative dimension": (_with("a", shape=[-2, -3]), BODY, None),
    "negative offset": (_with("a", data_offsets=[-24, 0]), BODY, None),
    "end before start": (_with("a", data_offsets=[24, 0]), BODY, None),
    "float dimension": (_with("a", shape=[2.0, 3.0]), BODY, None),
    "boolean dimension": (_with("a", shape=[True, 6]), BODY, None),
    "float offset": (_with("a", data_offsets=[0, 24.0]), BODY, None),
    "three offsets": (_with("a", data_offsets=[0, 12, 24]), BODY, None),
    "unknown dtype": (_with("a", dtype="F31"), BODY, None),
    "dtype is a list": (_with("a", dtype=["F32"]), BODY, None),
    "half a byte": ({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 1]}}, b"\0", None),
    "unknown field": (_with("a", scale=1), BODY, None),
    "missing field": ({"a": {"dtype": "F32", "shape": []}}, BODY, None),
    "entry is a number": ({**TABLE, "a": 3}, BODY, None),
    "metadata is not text": ({**TABLE, "__metadata__": {"n": 1}}, BODY, None),
    "metadata is a list": ({**TABLE, "__metadata__": []}, BODY, None),
    "duplicate tensor": ((TEXT[:-1] + ', "b": ' + json.dumps(TABLE["b"]) + "}").encode(), BODY, None),
    "duplicate metadata": ((TEXT[:-1] + ', "__metadata__": {}}').encode(), BODY, None),
    "duplicate field": (
        TEXT.replace('"dtype": "F32"', '"dtype": "F32", "dtype": "F32"').encode(),
        BODY,
        None,
    ),
    "leading space": (b" " + TEXT.encode(), BODY, None),
    "byte order mark": (b"\xef\xbb\xbf" + TEXT.encode(), BODY, None),
    "NUL padding": (TEXT.encode() + b"\0\0", BODY, None),
    "two objects": (TEXT.encode() + b"{}", BODY, None),
    "NaN": (TEXT.replace("[0, 24]", "[0, NaN]").encode(), BODY, None),
    "infinite number": (TEXT.replace("[0, 24]", "[0, 1e999]").encode(), BODY, None),
    "number of 5000 digits": (TEXT.replace("[0, 24]", "[0, " + "9" * 5000 + "]").encode(), BODY, None),
    "nested too deeply": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b"", None),
    "not UTF-8": (b'{"\xff": 1}', b"", None),
    "half a surrogate": (TEXT.replace('"a"', '"\\ud800"').encode(), BODY, None),
    "a list": (b"[]", b"", None),
    "truncated JSON": (TEXT[:-3].encode(), BODY, None),
    "header longer than the file": (TABLE, BODY, 10_000),
    "header above the cap": (TABLE, BODY, MAX_HEADER_BYTES + 1),
    "header of 2^62": (TABLE, BODY, 1 << 62),
    "header of no length": (b"", BODY, 0),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_refuses(attack: str, write: Write) -> None:
    table, body, length = ATTACKS[attack]
    path = write(table, body, length=length)
    with pytest.raises(CheckpointError, match=r"; download or save the file again") as caught:
        read_header(path)
    assert str(path) in str(caught.value)


def test_names_the_tensor_at_fault(write: Write) -> None:
    with pytest.raises(CheckpointError, match="'a' holds 24 bytes; F32 \\[2, 4\\] needs 32"):
        read_header(write(_with("a", shape=[2, 4])))


@pytest.mark.parametrize("content", [b"", b"\1\2\3"])
def test_refuses_a_file_shorter_than_its_prefix(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="too short"):
        read_header(path)


def test_refuses_what_is_no_file_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_header(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_header(tmp_path / "absent")


_GOOD = pack(TABLE)


@settings(max_examples=1500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(
        st.tuples(st.integers(0, len(_GOOD)), st.integers(0, 12), st.binary(max_size=12)),
        min_size=1,
        max_size=4,
    )
)
@example(cuts=[(0, 0, b"")])
def test_a_mutated_file_is_read_or_refused_and_never_crashes(
    tmp_path: Path, cuts: list[tuple[int, int, bytes]]
) -> None:
    data = _GOOD
    for place, removed, added in cuts:
        data = data[:place] + added + data[place + removed :]
    path = tmp_path / "m.safetensors"
    path.write_bytes(data)
    try:
        found = read_header(path)
    except CheckpointError:
        assert data != _GOOD
        return
    assert found.file_bytes == len(data)
    spans = sorted((entry.start, entry.end) for entry in found.tensors.values())
    assert [start for start, _ in spans] == [len(found.raw), *(end for _, end in spans)][: len(spans)]
