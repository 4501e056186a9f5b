"""Ranges and kernels: the strength of each layer is the formula's, on disk and in a running model alike."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from surgery.checkpoint.layout import open_checkpoint
from surgery.direction.direction import unit_direction
from surgery.edit.kernel import kernel_weight, strength_at
from surgery.edit.runtime import running
from surgery.errors import EditError
from surgery.model.language_model import final_log_probs
from surgery.model.loading import load_language_model
from surgery.recipe.editing import Ablate, Kernel, LayerRange
from surgery.report.statements import effect_sentence
from surgery.report.steps import describe_step, step_effect
from tests.edit.edit_sources import directions, plan_for, run


@pytest.mark.parametrize(
    ("kernel", "weights"),
    [
        (Kernel(peak=2, reach=2), [0, 0.5, 1, 0.5, 0, 0]),
        (Kernel(peak=2, reach=2, least=0.2), [0.2, 0.6, 1, 0.6, 0.2, 0]),
        (Kernel(peak=2.5, reach=2), [0, 0.25, 0.75, 0.75, 0.25, 0]),
        (Kernel(peak=0, reach=4, shape="cosine"), [1, 0.8535533905932737, 0.5, 0.1464466094067262, 0, 0]),
        (Kernel(peak=3, reach=1, shape="flat", least=0.5), [0, 0, 1, 1, 1, 0]),
    ],
)
def test_weights_are_the_formulas(kernel: Kernel, weights: list[float]) -> None:
    assert [kernel_weight(kernel, layer) for layer in range(6)] == pytest.approx(weights, abs=1e-12)


@given(
    peak=st.floats(0, 80),
    reach=st.floats(0.1, 80),
    least=st.floats(0, 1),
    shape=st.sampled_from(["linear", "cosine", "flat"]),
)
def test_a_weight_never_grows_with_the_distance(peak: float, reach: float, least: float, shape: Any) -> None:
    kernel = Kernel(peak=peak, reach=reach, least=least, shape=shape)
    order = sorted(range(81), key=lambda layer: abs(layer - peak))
    weights = [kernel_weight(kernel, layer) for layer in order]
    assert all(0 <= weight <= 1 for weight in weights)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(weights))


def test_a_range_includes_both_ends_and_no_embedding() -> None:
    step = Ablate(ablate="r", layers=LayerRange(first=2, last=3))
    assert [strength_at(step, layer) for layer in (None, 1, 2, 3, 4)] == [0, 0, 1, 1, 0]
    assert strength_at(Ablate(ablate="r", layers=LayerRange(first=2)), 99) == 1
    assert strength_at(Ablate(ablate="r", kernel=Kernel(peak=1, reach=9)), None) == 0
    assert strength_at(Ablate(ablate="r", strength=-2), None) == -2


def test_the_plan_gives_each_layer_its_strength(tiny_folder: Path) -> None:
    source = open_checkpoint(tiny_folder)
    kernel = Kernel(peak=1, reach=2, least=0.5)
    everywhere = plan_for(source, [Ablate(ablate="r0", strength=2, kernel=kernel)])
    assert {edit.layer: edit.strengths for edit in everywhere.edits} == {0: (1.5,), 1: (2.0,), 2: (1.5,)}
    later = plan_for(source, [Ablate(ablate="r0", strength=2, layers=LayerRange(first=1), kernel=kernel)])
    assert {edit.layer: edit.strengths for edit in later.edits} == {1: (2.0,), 2: (1.5,)}
    with pytest.raises(EditError, match="there is no layer 3"):
        plan_for(source, [Ablate(ablate="r0", layers=LayerRange(first=0, last=3))])


@pytest.mark.parametrize(
    "step",
    [
        Ablate(ablate="r0", kernel=Kernel(peak=1, reach=2, least=0.3)),
        Ablate(ablate="r0", strength=-0.5, layers=LayerRange(first=1)),
    ],
)
def test_hooks_in_the_model_do_what_the_weights_do(tiny_folder: Path, tmp_path: Path, step: Ablate) -> None:
    edited = run(
        plan_for(open_checkpoint(tiny_folder), [step]), open_checkpoint(tiny_folder), tmp_path / "out"
    )
    found = {name: unit_direction(vector) for name, vector in directions(1).items()}
    prompts = [[5, 6, 7, 8], [9, 8, 7, 6, 5]]
    base = load_language_model(tiny_folder, device="cpu")
    plain = final_log_probs(base, prompts)
    with running(base, [step], found):
        hooked = final_log_probs(base, prompts)
    written = final_log_probs(load_language_model(edited.folder, device="cpu"), prompts)
    torch.testing.assert_close(hooked, written, atol=1e-4, rtol=0)
    assert float((hooked - plain).abs().max()) > 1e-2


def test_the_report_says_how_the_strength_is_spread() -> None:
    step = Ablate(ablate="r", layers=LayerRange(first=3), kernel=Kernel(peak=12, reach=6, least=0.1))
    assert describe_step(step) == (
        "ablate r, strength 1, only layers 3 to the last, linear weights around layer 12, reaching 6 layers,"
        " down to 0.1 of it"
    )
    assert "weakened" in effect_sentence(step_effect(step))
    assert "up to 1, less in other layers" in effect_sentence(step_effect(step))


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(ValidationError, match="last is 2, before first, which is 3"):
        LayerRange(first=3, last=2)
