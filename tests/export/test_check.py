"""A wrong adapter is caught before anything is measured with it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from surgery.direction.direction import unit_direction
from surgery.errors import EditError
from surgery.export.check import check_adapter
from surgery.recipe.editing import Add, Scale

STEPS = [Add(add="one", layer=1, scale=Scale(norm=3.0))]


def test_an_adapter_that_does_nothing_is_refused(tiny_model: Any) -> None:
    directions = {"one": unit_direction(np.random.default_rng(0).standard_normal(tiny_model.d_model))}
    with pytest.raises(EditError, match="does not do what the edit does"):
        check_adapter(tiny_model, tiny_model, STEPS, directions)


def test_the_edit_itself_passes_with_its_effect(tiny_model: Any) -> None:
    import torch

    direction = unit_direction(np.random.default_rng(0).standard_normal(tiny_model.d_model))
    edited = replace(tiny_model, network=copy.deepcopy(tiny_model.network))
    layer = edited.network.model.layers[1].mlp.down_proj
    layer.bias = torch.nn.Parameter(3.0 * torch.from_numpy(direction.vector))
    check = check_adapter(tiny_model, edited, STEPS, {"one": direction})
    assert check.error < 1e-4
    assert check.effect > 0.01
