"""Rows survive a file, and sides are paired only where they answer the same items."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.errors import VerifyError
from surgery.model.prompts import Item
from surgery.verify.records import Record, paired, prompt_hash, record, record_as_json, write_records

numbers = st.floats(allow_nan=False, allow_infinity=False)
rows = st.builds(
    Record,
    suite=st.text(min_size=1),
    item_id=st.text(min_size=1),
    prompt_sha256=st.just("0" * 64),
    side=st.text(min_size=1),
    reply=st.none() | st.text(),
    reply_tokens=st.none() | st.integers(0, 9),
    finished=st.none() | st.booleans(),
    state=st.none() | st.sampled_from(["refusal", "empty"]),
    log_likelihoods=st.lists(numbers, max_size=3).map(tuple),
    correct=st.none() | st.booleans(),
    values=st.dictionaries(st.text(min_size=1), numbers, max_size=3),
)


def _row(item_id: str, side: str = "base", prompt: str = "ask") -> Record:
    return record("refusal", Item(item_id, prompt, {}), side)


@given(st.lists(rows, max_size=4))
def test_a_row_is_a_line_whatever_its_reply_holds(written: list[Record]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        write_records(path, written)
        lines = path.read_text(encoding="utf-8").split("\n")  # a reply may hold U+2028 or U+0085 as it is
        assert [json.loads(line) for line in lines if line] == [record_as_json(each) for each in written]


def test_the_file_is_strict_json_without_empty_fields(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, [record("drift", Item("1", "ask", {}), "edited", values={"kl_first": math.inf})])
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "suite": "drift",
        "item_id": "1",
        "prompt_sha256": prompt_hash(Item("1", "ask", {})),
        "side": "edited",
        "values": {"kl_first": None},
    }


def test_sides_are_paired_by_item_whatever_their_order() -> None:
    base, edited = [_row("a"), _row("b")], [_row("b", "edited"), _row("a", "edited")]
    assert [(before.item_id, after.item_id) for before, after in paired(base, edited, "refusal")] == [
        ("a", "a"),
        ("b", "b"),
    ]


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        ([_row("a", "edited")], "not measured on the same items.*: b"),
        ([_row("a", "edited"), _row("b", "edited", "other words")], "item b was asked in different words"),
        ([_row("a", "edited"), _row("b", "edited"), _row("a", "edited")], "item a occurs twice"),
    ],
)
def test_sides_that_do_not_match_are_refused(edited: list[Any], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        paired([_row("a"), _row("b")], edited, "refusal")
