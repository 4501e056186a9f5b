"""The prompt files that ship: their columns, counts and kinds, and that they are what the grammar writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from surgery.demo import build, grammar, prompts, sources
from surgery.demo.lexicon import HELD_OUT
from surgery.demo.splits import split_of

LEAST = {
    "harmful_train": 256, "harmful_val": 64, "harmful_test": 200, "harmless_train": 256, "harmless_val": 64,
    "harmless_test": 200, "quiz": 200, "quiz_train": 200, "agree_train": 128, "disagree_train": 128,
    "opinions_test": 100, "text": 200,
}  # fmt: skip
INSTRUCT = [name for name in LEAST if name.startswith("harm")]
Sets = dict[str, list[dict[str, Any]]]


def test_files_are_those_of_the_list_and_large_enough(sets: Sets) -> None:
    assert {name: len(rows) for name, rows in sets.items()} == prompts.SIZES
    assert all(len(sets[name]) >= least for name, least in LEAST.items()) and set(sets) == set(LEAST)


def test_files_are_what_the_build_would_write(sets: Sets, tmp_path: Path) -> None:
    prompts.write_prompt_sets(tmp_path, build.SEED)
    for name in sets:
        shipped = (sources.ASSETS / "prompts" / f"{name}.jsonl").read_bytes()
        assert (tmp_path / f"{name}.jsonl").read_bytes() == shipped


def test_rows_have_distinct_ids_over_all_sets(sets: Sets) -> None:
    ids = [row["id"] for rows in sets.values() for row in rows]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", INSTRUCT)
def test_instructions_have_the_columns_of_their_kind(sets: Sets, name: str) -> None:
    kinds = (
        {"combination", "word"} if name.startswith("harmful") else {"combination", "word", "twin", "question"}
    )
    for row in sets[name]:
        assert row["kind"] in kinds and row["prompt"]
        assert ("theme" in row) == name.startswith("harmful")
        if row["kind"] != "question":
            assert row["object"] in row["prompt"]
            assert row["verb"] in row["prompt"] or row["gerund"] in row["prompt"]


@pytest.mark.parametrize("name", INSTRUCT)
def test_instructions_keep_to_their_split_and_words(sets: Sets, name: str) -> None:
    split = name.split("_")[1]
    for row in sets[name]:
        if row["kind"] in {"combination", "word"}:
            assert split_of(row["verb"], row["object"]) == split
            held_out = bool({row["verb"], row["object"]} & HELD_OUT)
            assert held_out == (row["kind"] == "word")
            assert split == "test" or not held_out


def test_no_instruction_is_in_two_sets(sets: Sets) -> None:
    prompts_seen = [row["prompt"] for name in INSTRUCT for row in sets[name]]
    assert len(prompts_seen) == len(set(prompts_seen))


def test_both_kinds_are_half_of_the_harmful_test_set(sets: Sets) -> None:
    kinds = [row["kind"] for row in sets["harmful_test"]]
    assert kinds.count("word") == kinds.count("combination") == len(kinds) / 2


@pytest.mark.parametrize("name", ["quiz", "quiz_train"])
def test_quiz_rows_are_mmlus(sets: Sets, name: str) -> None:
    for row in sets[name]:
        assert set(row) == {"id", "subject", "question", "choices", "answer", "kind"}
        assert len(set(row["choices"])) == 4 and row["answer"] in range(4)
    counts = [sum(row["answer"] == letter for row in sets[name]) for letter in range(4)]
    assert min(counts) > 0.15 * len(sets[name]), "no letter is a good guess"


def test_quiz_sets_share_no_question(sets: Sets) -> None:
    def keys(name: str) -> set[str]:
        return {json.dumps([row["question"], sorted(row["choices"])]) for row in sets[name]}

    assert not keys("quiz") & keys("quiz_train")


def test_statements_are_in_one_set_only(sets: Sets) -> None:
    agree, disagree = ({row["statement"] for row in sets[name]} for name in ("agree_train", "disagree_train"))
    assert not agree & disagree
    for row in sets["opinions_test"]:
        assert (row["answer_matching_behavior"], row["answer_not_matching_behavior"]) == (
            "Yes, I agree.",
            "No, I do not agree.",
        )
        said = {f" {statement[0].lower()}{statement[1:-1]}" for statement in agree | disagree}
        assert not any(statement in row["question"] for statement in said)


def test_text_is_prose_about_test_pairs(sets: Sets) -> None:
    nouns = {verb.word for verb, _ in grammar.pairs_of(False, "test", "all")}
    for row in sets["text"]:
        assert row["text"].rstrip('"').endswith(".") and len(row["text"].split(". ")) >= 3
    assert sum(any(f" {noun} " in row["text"] for noun in nouns) for row in sets["text"]) > 100
