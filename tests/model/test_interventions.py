"""Ablation clears the stream everywhere, addition moves it exactly, and both leave the model as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from surgery.errors import AnatomyError
from surgery.hook_point import HookPoint
from surgery.model import sites
from surgery.model.chat import post_instruction_length
from surgery.model.interventions import ablating, adding, changing
from surgery.model.language_model import chat_tokens, final_log_probs
from surgery.model.residuals import mean_residuals, residuals, stream_at

PROMPTS = ["apple", "How do I water the fern?", "river stone 1 2 3"]


def _tokens(model: Any) -> list[list[int]]:
    return [chat_tokens(model, prompt) for prompt in PROMPTS]


def test_residuals_equal_transformers_hidden_states(tiny_model: Any) -> None:
    tokens = _tokens(tiny_model)
    found = residuals(tiny_model, tokens, keep=2)
    for row, prompt in enumerate(tokens):
        with torch.inference_mode():
            states = tiny_model.network(
                input_ids=torch.tensor([prompt]), output_hidden_states=True
            ).hidden_states
        for layer in range(tiny_model.n_layers):
            np.testing.assert_allclose(found[row, layer], states[layer][0, -2:].numpy(), atol=2e-5)
        # The last entry is before the final norm, where transformers' last hidden state is behind it.
        normed = tiny_model.network.model.norm(torch.from_numpy(found[row, -1]))
        np.testing.assert_allclose(normed.numpy(), states[-1][0, -2:].numpy(), atol=2e-5)


def test_means_are_means_of_residuals(tiny_model: Any) -> None:
    tokens = _tokens(tiny_model)
    expected = residuals(tiny_model, tokens, keep=2).astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(mean_residuals(tiny_model, tokens, keep=2), expected, atol=1e-6)


def test_ablation_clears_every_layer_and_position(tiny_model: Any) -> None:
    direction = np.random.default_rng(0).standard_normal(tiny_model.d_model)
    direction /= np.linalg.norm(direction)
    before = residuals(tiny_model, _tokens(tiny_model), keep=4)
    with ablating(tiny_model, direction):
        streams = [
            stream_at(tiny_model, _tokens(tiny_model), HookPoint(layer, "resid_post")) for layer in range(3)
        ]
    leftover = max(float(np.abs(stream @ direction).max()) for layer in streams for stream in layer)
    assert float(np.abs(before @ direction).max()) > 0.1
    assert leftover < 1e-5
    np.testing.assert_array_equal(residuals(tiny_model, _tokens(tiny_model), keep=4), before)


def test_strength_scales_what_is_removed_from_the_first_layer(tiny_model: Any) -> None:
    direction = np.eye(tiny_model.d_model)[3]
    point = HookPoint(0, "resid_pre")
    base = stream_at(tiny_model, _tokens(tiny_model), HookPoint(0, "resid_post"))
    with ablating(tiny_model, direction, strength=0.0):
        same = stream_at(tiny_model, _tokens(tiny_model), HookPoint(0, "resid_post"))
    for left, right in zip(base, same, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    assert point.same_stream(HookPoint(0, "resid_pre"))


def test_addition_moves_the_stream_by_the_vector(tiny_model: Any) -> None:
    vector = np.random.default_rng(1).standard_normal(tiny_model.d_model)
    tokens = _tokens(tiny_model)
    base = residuals(tiny_model, tokens)
    with adding(tiny_model, vector, HookPoint(2, "resid_post")):
        moved = residuals(tiny_model, tokens)
        changed = final_log_probs(tiny_model, tokens)
    np.testing.assert_allclose(moved[:, :3], base[:, :3])
    assert float((changed - final_log_probs(tiny_model, tokens)).abs().max()) > 1e-3
    with adding(tiny_model, vector, HookPoint(1, "resid_pre")):
        early = residuals(tiny_model, tokens)
    np.testing.assert_allclose(early[:, 0], base[:, 0])
    assert float(np.abs(early[:, 2] - base[:, 2]).max()) > 1e-3


def test_post_instruction_tokens_are_the_templates_own(tiny_model: Any) -> None:
    length = post_instruction_length(tiny_model.tokenizer)
    suffixes = {tuple(tokens[-length:]) for tokens in _tokens(tiny_model)}
    assert len(suffixes) == 1
    assert tiny_model.tokenizer.decode(list(suffixes.pop())) == "<|end|>\n<|assistant|>\n"


@pytest.mark.parametrize(
    "point", [HookPoint(1, "resid_pre"), HookPoint(0, "resid_post"), HookPoint(1, "mlp_out")]
)
def test_changing_replaces_what_passes_a_hook_point(tiny_model: Any, point: HookPoint) -> None:
    before = final_log_probs(tiny_model, [[5, 6, 7]])
    seen: list[Any] = []

    def keep(hidden: Any) -> Any:
        seen.append(hidden.clone())
        return hidden

    with changing(tiny_model, point, keep):
        same = final_log_probs(tiny_model, [[5, 6, 7]])
    with changing(tiny_model, point, lambda hidden: 0.0 * hidden):
        other = final_log_probs(tiny_model, [[5, 6, 7]])
    assert (same == before).all() and not (other == before).all()
    assert seen[0].shape == (1, 3, 32)


@pytest.mark.parametrize("point", [HookPoint(9, "resid_pre"), HookPoint(1, "resid_mid")])
def test_changing_refuses_what_cannot_be_hooked(
    tiny_model: Any, point: HookPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sites.MLP_NORMS, tiny_model.network.config.model_type)
    with pytest.raises(AnatomyError, match=str(point)), changing(tiny_model, point, lambda hidden: hidden):
        pass
