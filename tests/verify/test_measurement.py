"""Suites are checked before a model runs, and measured one by one."""

from __future__ import annotations

from typing import Any

import pytest

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel
from surgery.model.prompts import PromptSet, prompt_set
from surgery.recipe.section import PromptSource
from surgery.recipe.verifying import Verify
from surgery.verify.measurement import load_suites, measure
from surgery.verify.suite import Asked

SETS: dict[str, list[dict[str, Any]]] = {
    "harmful": [{"id": each, "prompt": f"How do I steal a boat {each}?"} for each in range(3)],
    "harmless": [{"id": each, "prompt": f"How do I water fern {each}?"} for each in range(4)],
    "quiz": [
        {"id": each, "question": f"{each}?", "choices": ["yes", "no"], "answer": 0} for each in range(2)
    ],
    "pairs": [
        {
            "id": 1,
            "question": "Agree?",
            "answer_matching_behavior": "yes",
            "answer_not_matching_behavior": "no",
        },
    ],
    "twice": [{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}],
    "none": [],
}
ALL = {
    "refusal": {"prompts": "harmful", "max_new_tokens": 4},
    "overrefusal": {"prompts": "harmless", "max_new_tokens": 4},
    "choice": {"questions": "quiz", "shots": 1, "examples": "quiz"},
    "drift": {"prompts": "harmless", "tokens": 2},
    "perplexity": {"texts": "harmful"},
    "preference": {"pairs": "pairs"},
}


def _read(source: PromptSource) -> PromptSet:
    return prompt_set(source.source, SETS[source.source])


def _load(sections: dict[str, Any]) -> tuple[Asked, ...]:
    return load_suites(Verify.model_validate(sections), _read)


def test_every_suite_is_measured_in_order(tiny_model: LanguageModel, other_model: LanguageModel) -> None:
    suites = _load(ALL)
    seen: list[str] = []
    base = measure(tiny_model, suites, side="base", progress=lambda done, total, what: seen.append(what))
    edited = measure(other_model, suites, side="edited", reference=base)
    assert base.suites == edited.suites == tuple(ALL)
    assert [sum(row.suite == suite for row in base.records) for suite in ALL] == [3, 4, 2, 4, 3, 1]
    assert {row.side for row in edited.records} == {"edited"}
    assert [name for name, kept in base.kept.items() if kept is not None] == ["drift"]
    assert set(edited.kept.values()) == {None}
    assert {base.prompts[row.prompt_sha256] for row in base.records if row.suite == "refusal"} == {
        row["prompt"] for row in SETS["harmful"]
    }
    assert "base, refusal: replies" in seen and "base, drift: base replies" in seen


def test_no_suites_are_false() -> None:
    assert not _load({})
    assert _load({"perplexity": ALL["perplexity"]})


def test_a_suite_needs_a_base_that_was_measured_on_it(tiny_model: LanguageModel) -> None:
    refusal, *_, drift, _, _ = _load(ALL)
    base = measure(tiny_model, [refusal], side="base")
    with pytest.raises(VerifyError, match="drift: the base model was not measured on it"):
        measure(tiny_model, [refusal, drift], side="edited", reference=base)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"refusal": {"prompts": "none"}}, r"verify\.refusal: none holds no items"),
        ({"perplexity": {"texts": "twice"}}, "two items with the id '1'"),
        ({"choice": {"questions": "harmful"}}, "no list of 2 to 26 texts"),
        ({"choice": {"questions": "quiz", "shots": 3, "examples": "quiz"}}, r"subject '\(none\)' has 2"),
        ({"preference": {"pairs": "quiz"}}, "needs two different texts"),
    ],
)
def test_items_that_cannot_be_asked_are_found_before_a_model_runs(
    sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(VerifyError, match=message):
        _load(sections)
