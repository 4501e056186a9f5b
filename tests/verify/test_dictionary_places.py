"""Where a dictionary is looked for beside the place that it names."""

from __future__ import annotations

import pytest

from surgery.hook_point import HookPoint
from surgery.verify.dictionary_places import neighbours


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (HookPoint(0, "resid_pre"), ["layer 0 resid_post"]),
        (HookPoint(1, "resid_pre"), ["layer 0 resid_pre", "layer 1 resid_post"]),
        (HookPoint(2, "resid_post"), ["layer 2 resid_pre"]),
        (HookPoint(1, "resid_post"), ["layer 1 resid_pre", "layer 2 resid_post"]),
        (HookPoint(1, "mlp_out"), ["layer 0 mlp_out", "layer 2 mlp_out"]),
    ],
)
def test_neighbours_are_one_layer_away(point: HookPoint, expected: list[str]) -> None:
    assert [str(each) for each in neighbours(point, 3)] == expected
