"""KL by hand, of a model with itself, and against a plain loop over unpadded passes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surgery.errors import VerifyError
from surgery.linalg.divergence import kl_divergence
from surgery.model.language_model import LanguageModel, chat_tokens, generate
from surgery.model.prompts import prompt_set
from surgery.verify import drift
from surgery.verify.drift import measure_drift, measure_reference

PROMPTS = prompt_set(
    "harmless", [{"prompt": "How do I water the fern? " * (1 + number % 3)} for number in range(5)]
)
logits = st.lists(st.floats(-20, 20), min_size=2, max_size=12)


def test_kl_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert float(kl_divergence(p.log(), q.log())) == pytest.approx(expected, abs=1e-7)


def test_tokens_that_cannot_be_count_nothing() -> None:
    inf = math.inf
    base = torch.tensor([[0.0, 0.0, -inf]])
    assert float(kl_divergence(base, base)) == 0.0
    assert float(kl_divergence(base, torch.tensor([[0.0, 0.0, 0.0]]))) == pytest.approx(math.log(3 / 2))
    assert float(kl_divergence(base, torch.tensor([[0.0, -inf, -inf]]))) == inf


@given(logits, st.floats(-5, 5))
def test_kl_is_never_negative_and_does_not_see_a_shift(values: list[float], shift: float) -> None:
    base = torch.tensor([values], dtype=torch.float64)
    other = base.flip(1)
    assert float(kl_divergence(base, other)) >= 0.0
    assert float(kl_divergence(base, base + shift)) < 1e-9


def test_a_model_has_not_drifted_from_itself(tiny_model: LanguageModel) -> None:
    base_rows, reference = measure_reference(tiny_model, PROMPTS, side="base", n_tokens=4)
    assert [row.side for row in base_rows] == ["base"] * 5
    for row in measure_drift(tiny_model, PROMPTS, side="edited", reference=reference):
        assert row.values == {
            "kl_first": 0.0,
            "kl_tokens": 0.0,
            "kl_most": 0.0,
            "same_token": 1.0,
            "unchanged": 1.0,
        }


def test_drift_is_that_of_a_plain_loop(tiny_model: LanguageModel, other_model: LanguageModel) -> None:
    _, reference = measure_reference(tiny_model, PROMPTS, side="base", n_tokens=4)
    rows = measure_drift(other_model, PROMPTS, side="edited", reference=reference)
    for row, item in zip(rows, PROMPTS.items, strict=True):
        tokens = chat_tokens(tiny_model, item.prompt)
        (reply,) = generate(tiny_model, [tokens], max_new_tokens=4)
        positions = len(reply) if len(reply) == 4 else len(reply) + 1
        values = []
        for position in range(positions):
            seen = torch.tensor([[*tokens, *reply[:position]]])
            with torch.no_grad():
                p, q = (
                    torch.softmax(model.network(input_ids=seen).logits[0, -1].double(), dim=-1)
                    for model in (tiny_model, other_model)
                )
            values.append(float((p * (p.log() - q.log())).sum()))
        assert row.values["kl_first"] == pytest.approx(values[0], rel=1e-4)
        assert row.values["kl_tokens"] == pytest.approx(sum(values) / len(values), rel=1e-4)
        assert row.values["kl_most"] == pytest.approx(max(values), rel=1e-4)
        assert row.values["unchanged"] == 0.0


def test_the_stop_is_a_position_of_its_own(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = [[], [5], [5, 6], [5, 6, 7], [5, 6, 7, 8]]
    monkeypatch.setattr(drift, "generate", lambda *_, **__: replies)
    rows, reference = measure_reference(tiny_model, PROMPTS, side="base", n_tokens=4)
    assert [len(each) for each in reference.log_probs] == [1, 2, 3, 4, 4]
    assert [row.finished for row in rows] == [True, True, True, True, False]


def test_batching_does_not_change_drift(
    tiny_model: LanguageModel, other_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, reference = measure_reference(tiny_model, PROMPTS, side="base", n_tokens=3)
    together = measure_drift(other_model, PROMPTS, side="edited", reference=reference)
    monkeypatch.setattr(drift, "_PROMPTS_AT_ONCE", 1)
    for row, alone in zip(
        together, measure_drift(other_model, PROMPTS, side="edited", reference=reference), strict=True
    ):
        assert row.values["kl_tokens"] == pytest.approx(alone.values["kl_tokens"], abs=1e-5)


def test_a_reference_of_other_prompts_or_tokens_is_refused(
    tiny_model: LanguageModel, letter_model: LanguageModel
) -> None:
    _, reference = measure_reference(tiny_model, PROMPTS, side="base", n_tokens=2)
    with pytest.raises(VerifyError, match="other prompts"):
        measure_drift(tiny_model, prompt_set("b", [{"prompt": "So?"}]), side="edited", reference=reference)
    with pytest.raises(VerifyError, match="vocabulary of"):
        drift._compare(reference.log_probs[0], reference.log_probs[0][:, :-1])
