"""The page and the summary of a comparison: whole, escaped, with its pictures."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from surgery.checkpoint.layout import open_checkpoint
from surgery.compare.diff import Diff, compare_checkpoints
from surgery.compare.nearest import Nearest
from surgery.report.diff_page import render_diff_page, render_diff_summary
from surgery.report.diff_pictures import agreement, change_map, spectra
from tests.compare import edited_pairs as pairs


def _diff(tmp_path: Path, *, tuned: bool = False) -> Diff:
    config, tensors, anatomy = pairs.base("llama")
    edited = (
        pairs.fine_tuned(tensors)
        if tuned
        else pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(1.0))
    )
    one = pairs.save(tmp_path / "a", config, tensors)
    two = pairs.save(tmp_path / "b", config | {"note": "<script>alert(1)</script>"}, edited)
    return compare_checkpoints(open_checkpoint(one), open_checkpoint(two))


def test_the_page_is_whole_and_runs_nothing(tmp_path: Path) -> None:
    found = _diff(tmp_path)
    page = render_diff_page(found, (Nearest("book", ((7, -0.9),), (7, 8), 0.97),), {"<b>": (0.5,)})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "default-src &#39;none&#39;" in page
    assert not re.search(r"(src|href)=|\sstyle=|undefined|None\b", page)
    assert "0.97 along features 7 + 8 of book" in page
    assert page.count("<svg") == 3
    ElementTree.fromstring(page.split("<body>")[1].join(["<body>", ""]).split("</body>")[0] + "</body>")


def test_every_changed_tensor_has_its_square(tmp_path: Path) -> None:
    found = _diff(tmp_path)
    drawn = change_map(found.evidence.changed)
    assert drawn is not None
    assert len(drawn.squares) == 9
    assert len({(square.x, square.y) for square in drawn.squares}) == 9
    assert [text for _, text in drawn.layers] == ["–", "0", "1", "2", "3"]
    assert {square.shade for square in drawn.squares} >= {0, 6}


def test_writers_that_were_left_out_are_drawn_too(tmp_path: Path) -> None:
    found = _diff(tmp_path)
    kept = [each for each in found.evidence.changed if "layers.1." in each.name]
    left = [each.name for each in found.evidence.changed if each not in kept]
    drawn = change_map(kept, left)
    assert drawn is not None
    assert [square.shade is None for square in drawn.squares] == [True] * len(left) + [False] * len(kept)
    assert len({(square.x, square.y) for square in drawn.squares}) == 9
    assert [text for _, text in drawn.layers] == ["–", "0", "1", "2", "3"]


def test_agreement_is_drawn_where_a_direction_is_shared(tmp_path: Path) -> None:
    found = _diff(tmp_path)
    drawn = agreement(found.verdict)
    assert drawn is not None
    assert len(drawn.agreement) == len(drawn.strength) == 9
    assert max(dot.y for dot in drawn.agreement) < 20  # all of them near 1, which is at the top
    assert {round(dot.y) for dot in drawn.strength} == {100}  # all at λ = 1
    assert [text for _, text in drawn.ticks] == ["|cos| 0", "|cos| 1", "λ 0.0", "λ 1.0"]
    assert len(spectra(found.evidence.changed).lines) == 9  # type: ignore[union-attr]


def test_a_fine_tune_has_a_page_too(tmp_path: Path) -> None:
    found = _diff(tmp_path, tuned=True)
    assert agreement(found.verdict) is None
    assert "dense change" in render_diff_page(found)


@pytest.mark.parametrize("tuned", [False, True])
def test_the_summary_is_plain_markdown(tuned: bool, tmp_path: Path) -> None:
    summary = render_diff_summary(_diff(tmp_path, tuned=tuned))
    assert summary.startswith("## What changed against the base model\n\n**")
    assert "- file `config.json`: changed\n" in summary
    assert "<" not in summary


def test_nothing_changed_draws_nothing(tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    one = pairs.save(tmp_path / "a", config, tensors, torch.float32)
    found = compare_checkpoints(open_checkpoint(one), open_checkpoint(one))
    assert change_map(found.evidence.changed) is None
    page = render_diff_page(found)
    assert "identical: every tensor has the same bytes" in page
    assert "<svg" not in page
