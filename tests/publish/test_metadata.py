"""The front matter of a card, checked on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.errors import UploadError
from surgery.publish.metadata import card_fields, card_problems, read_card
from surgery.report.card import model_card
from tests.publish.results import CARD
from tests.report.example_report import example_report


def test_the_card_that_a_run_writes_is_in_order() -> None:
    assert card_problems(model_card(example_report())) == []
    assert card_problems(CARD) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("base_model_relation: finetune", "base_model_relation: abliterated", "is none of adapter, finetune"),
        ("base_model: org/base", "base_model: ../folder", "'../folder' is not a Hub id"),
        ("base_model: org/base", "base_model: [org/base, 3]", "3 is not a Hub id"),
        ("license: apache-2.0", "license: other", "no license_name says which"),
        ("license: apache-2.0", "license: Apache 2.0!", "is not a licence id"),
        ("tags:\n- surgery", "tags: surgery", "is not a list of words"),
        ("tags:\n- surgery", "tags: [1]", "is not a list of words"),
        ("library_name: transformers", "library_name: [a]", "is not one word"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str) -> None:
    (problem,) = card_problems(CARD.replace(old, new))
    assert problem.startswith("README.md: ") and said in problem


@pytest.mark.parametrize("text", ["", "# A card\n", "---\n- a\n---\n", "---\na: [\n---\n", "---\na: 1\n"])
def test_a_card_without_front_matter_is_a_problem(text: str) -> None:
    assert card_fields(text) == {}
    assert "does not begin with front matter" in card_problems(text)[0]


def test_several_bases_and_no_licence_are_in_order() -> None:
    assert card_problems(CARD.replace("org/base", "[org/base, org/other]")) == []
    assert card_problems(CARD.replace("license: apache-2.0\n", "")) == []
    assert card_problems(CARD.replace("license: apache-2.0", "license: other\nlicense_name: mine")) == []


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    for each in (text, f"---\n{text}\n---\n"):
        assert all(problem.startswith("README.md: ") for problem in card_problems(each))


def test_a_card_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UploadError, match="nothing is published without a card"):
        read_card(tmp_path)
    (tmp_path / "README.md").write_bytes(b"\xff")
    with pytest.raises(UploadError, match="cannot be read"):
        read_card(tmp_path)
