from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.recipe.editing import Ablate, Add, Scale
from surgery.report.steps import Effect, describe_step, runs, step_effect


@pytest.mark.parametrize(
    ("strength", "kind"),
    [(1.0, "removed"), (0.4, "weakened"), (-1.0, "strengthened"), (2.0, "reversed"), (0.0, "unchanged")],
)
def test_strength_says_what_happens(strength: float, kind: str) -> None:
    assert step_effect(Ablate(ablate="r", strength=strength)) == Effect(kind, "r", strength)


def test_steps_in_words() -> None:
    assert describe_step(Ablate(ablate="refusal")) == "ablate refusal, strength 1"
    some = Ablate(ablate="r", strength=-0.5, writers=["mlp_out"], layers=[3, 5, 4, 9])
    assert describe_step(some) == "ablate r, strength −0.5, only mlp_out, only layers 3–5, 9"
    add = Add(add="agree", layer=3, scale=Scale(norm=4.0))
    assert describe_step(add) == "add agree to the output of layer 3, length 4"
    assert step_effect(add) == Effect("added", "agree", None, 3, length="length 4")
    assert describe_step(Add(add="agree", layer=3)).endswith("1 × its own length")


@given(st.lists(st.integers(0, 40), min_size=1))
def test_runs_name_every_number_once(numbers: list[int]) -> None:
    named: list[int] = []
    for part in runs(numbers).split(", "):
        first, _, last = part.partition("–")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(set(numbers))
