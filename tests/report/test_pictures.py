from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.direction.selection import Candidate
from surgery.report.comparison import axes
from surgery.report.portraits import SHADES, curve, heat_map
from surgery.verify.rows import Row
from surgery.verify.statistics import Estimate


def test_controls_stand_under_their_suite(example: ModuleType) -> None:
    shares, drift, entropy = axes(example.rows(), example.controls())
    assert [(bar.row.label, bar.control) for bar in shares.bars[:3]] == [
        ("refusal, harmful", False),
        ("random direction", True),
        ("original direction", True),
    ]
    assert [bar.row.label for bar in drift.bars] == ["KL first token"]
    assert [bar.row.label for bar in entropy.bars] == ["cross-entropy"]


def test_shares_lie_where_their_per_cent_says(example: ModuleType) -> None:
    bar = axes(example.rows(), ())[0].bars[0]
    assert bar.base is not None and bar.edited is not None
    assert (bar.base.low, bar.base.value, bar.base.high) == (96.38, 100.0, 100.0)
    assert bar.edited.text == "0.0 %, 95 % interval 0.0 % to 3.6 %"


def test_a_row_that_repeats_a_number_for_a_gate_is_not_drawn_twice(example: ModuleType) -> None:
    first = example.rows()[0]
    further = replace(first, label="refusal, harmful, level", base=None, change=None)
    empty = replace(first, label="refusal, harmful, change", base=None, edited=None)
    assert len(axes((first, further, empty), ())[0].bars) == 1


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_marks_stay_on_their_axis(value: float, more: float) -> None:
    row = Row("x", "drift", "nats", None, Estimate(value, 0.0, value + more), None, 3)
    mark = axes((row,), ())[0].bars[0].edited
    assert mark is not None
    assert 0 <= mark.low <= mark.value <= mark.high <= 100


def test_what_is_not_finite_is_not_drawn() -> None:
    row = Row("x", "drift", "nats", None, Estimate(math.nan, math.nan, math.nan), None, 3)
    assert axes((row,), ())[0].bars[0].edited is None


def test_the_best_candidate_is_darkest_and_the_rejected_have_reasons(example: ModuleType) -> None:
    cells = heat_map(example.selection()).cells
    (chosen,) = (cell for cell in cells if cell.chosen)
    assert chosen.shade == 0
    assert {cell.shade for cell in cells if cell.shade is not None} <= set(range(SHADES))
    assert {cell.text for cell in cells if cell.shade is None} == {"zero", "induce", "KL", "layer"}
    assert any("rejected: KL 0.310 above 0.1" in cell.title for cell in cells)


@pytest.mark.parametrize("n_layers", [1, 14, 80])
def test_every_candidate_is_inside_the_map(example: ModuleType, n_layers: int) -> None:
    tried = tuple(
        Candidate(layer, position, 1.0, 0.1, 1.0, 0.5) for layer in range(n_layers) for position in (-2, -1)
    )
    drawn = heat_map(replace(example.selection(), candidates=tried, chosen=tried[0]))
    assert len(drawn.cells) == 2 * n_layers
    assert all(
        cell.x + drawn.cell_width <= drawn.width and cell.y + drawn.cell_height <= drawn.height
        for cell in drawn.cells
    )
    assert drawn.width < 1400


def test_the_ring_is_on_the_curve_and_labels_do_not_touch(example: ModuleType) -> None:
    picture = curve(example.reconstruction())
    assert picture.chosen in {(x, y) for x, y, _ in picture.lines[0].dots}
    heights = sorted(line.label_y for line in picture.lines)
    assert all(below - above >= 15 for above, below in pairwise(heights))
    same = tuple(
        replace(point, random_direction=point.random_features) for point in example.reconstruction().curve
    )
    heights = sorted(line.label_y for line in curve(replace(example.reconstruction(), curve=same)).lines)
    assert all(below - above >= 15 for above, below in pairwise(heights))


def test_a_dictionary_of_one_feature_has_a_curve(example: ModuleType) -> None:
    point = example.reconstruction().curve[0]
    picture = curve(replace(example.reconstruction(), curve=(point,), point=point))
    assert len(picture.x_ticks) == 1
