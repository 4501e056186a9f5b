"""Cross-entropy against one unpadded pass, in one window and across several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel, plain_tokens
from surgery.model.prompts import prompt_set
from surgery.verify import perplexity
from surgery.verify.perplexity import measure_perplexity, windows

TEXTS = prompt_set("texts", [{"text": "Sorry, I will pour the river. " * number} for number in (1, 4, 2)])


def _plain_nll(model: LanguageModel, tokens: list[int]) -> float:
    import torch

    with torch.no_grad():
        logits = model.network(input_ids=torch.tensor([tokens])).logits[0].double()
    log_probs = torch.log_softmax(logits[:-1], dim=-1)
    return -float(log_probs[torch.arange(len(tokens) - 1), torch.tensor(tokens[1:])].sum())


def test_a_text_costs_what_one_pass_says(tiny_model: LanguageModel) -> None:
    for row, item in zip(measure_perplexity(tiny_model, TEXTS, side="base"), TEXTS.items, strict=True):
        tokens = plain_tokens(tiny_model, item.prompt)
        assert row.values["nll"] == pytest.approx(_plain_nll(tiny_model, tokens), rel=1e-5)
        assert row.values["tokens"] == len(tokens) - 1
        assert row.values["bytes"] == len(item.prompt.encode())


def test_long_texts_are_scored_window_by_window(
    tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "__defaults__", (5,))
    (row, *_) = measure_perplexity(tiny_model, TEXTS, side="base")
    tokens = plain_tokens(tiny_model, TEXTS.items[0].prompt)
    pieces = [tokens[start : start + 6] for start in range(0, len(tokens) - 1, 5)]
    assert len(pieces) > 1
    assert row.values["nll"] == pytest.approx(
        sum(_plain_nll(tiny_model, piece) for piece in pieces), rel=1e-5
    )
    assert row.values["tokens"] == len(tokens) - 1


@given(st.lists(st.integers(0, 99), max_size=40), st.integers(1, 12))
def test_windows_score_every_token_but_the_first_once(tokens: list[int], size: int) -> None:
    cut = windows(tokens, size)
    assert [token for _, scored in cut for token in scored] == tokens[1:]
    assert all(len(given) == 1 and 1 <= len(scored) <= size for given, scored in cut)


def test_texts_too_short_to_score_give_no_row(tiny_model: LanguageModel) -> None:
    texts = prompt_set("texts", [{"text": ""}, {"text": "river stone"}])
    assert [row.item_id for row in measure_perplexity(tiny_model, texts, side="base")] == ["1"]
    with pytest.raises(VerifyError, match="no text of nothing is long enough"):
        measure_perplexity(tiny_model, prompt_set("nothing", [{"text": ""}]), side="base")


def test_batching_does_not_change_scores(tiny_model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    together = measure_perplexity(tiny_model, TEXTS, side="base")
    monkeypatch.setattr(perplexity, "_TEXTS_AT_ONCE", 1)
    for row, alone in zip(together, measure_perplexity(tiny_model, TEXTS, side="base"), strict=True):
        assert row.values["nll"] / row.values["tokens"] == pytest.approx(
            alone.values["nll"] / alone.values["tokens"], abs=1e-5
        )
