"""Batching, padding and scoring do not depend on how prompts are put together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import MBartConfig, MBartForCausalLM

from surgery.errors import SourceError
from surgery.model import language_model
from surgery.model.families.trials import TRIALS
from surgery.model.language_model import (
    LanguageModel,
    chat_tokens,
    continuation_log_probs,
    decode,
    final_log_probs,
    generate,
    plain_tokens,
)
from surgery.model.loading import load_language_model, quiet_transformers
from surgery.model.twin import build_twin
from tests.conftest import build_tokenizer

PROMPTS = ["apple", "How do I water the fern?", "I cannot help with that river stone 1 2 3 4 5 6 7"]


def test_final_log_probs_do_not_depend_on_the_batch(tiny_model: Any) -> None:
    tokens = [chat_tokens(tiny_model, prompt) for prompt in PROMPTS]
    together = final_log_probs(tiny_model, tokens)
    alone = torch.cat([final_log_probs(tiny_model, [each]) for each in tokens])
    assert together.shape == (3, len(tiny_model.tokenizer))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert together.exp().sum(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_continuations_are_scored_as_one_plain_forward_scores_them(tiny_model: Any) -> None:
    contexts = [plain_tokens(tiny_model, prompt) for prompt in PROMPTS]
    continuations = [plain_tokens(tiny_model, text) for text in (" yes", " stone 0 1", " pour it slowly")]
    scored = continuation_log_probs(tiny_model, contexts, continuations)
    for context, continuation, found in zip(contexts, continuations, scored, strict=True):
        with torch.inference_mode():
            logits = tiny_model.network(input_ids=torch.tensor([context + continuation])).logits[0]
        expected = torch.log_softmax(logits[len(context) - 1 : -1], dim=-1)[
            range(len(continuation)), continuation
        ]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_full_rows_hold_the_scored_tokens(tiny_model: Any) -> None:
    context, continuation = plain_tokens(tiny_model, PROMPTS[0]), plain_tokens(tiny_model, " yes no")
    scored = continuation_log_probs(tiny_model, [context], [continuation])[0]
    full = continuation_log_probs(tiny_model, [context], [continuation], full=True)[0]
    assert full.shape == (len(continuation), len(tiny_model.tokenizer))
    torch.testing.assert_close(full[range(len(continuation)), continuation], scored)


def test_generation_is_greedy_and_batch_invariant(tiny_model: Any) -> None:
    tokens = [chat_tokens(tiny_model, prompt) for prompt in PROMPTS]
    replies = generate(tiny_model, tokens, max_new_tokens=5)
    assert replies == [generate(tiny_model, [each], max_new_tokens=5)[0] for each in tokens]
    first = final_log_probs(tiny_model, tokens).argmax(dim=1).tolist()
    ends = tiny_model.tokenizer.eos_token_id
    assert [reply[:1] for reply in replies] == [[] if token == ends else [token] for token in first]
    assert all(isinstance(decode(tiny_model, reply), str) for reply in replies)


def test_generation_reports_progress(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    tokens = [chat_tokens(tiny_model, prompt) for prompt in PROMPTS]
    monkeypatch.setattr(language_model, "BATCH_TOKENS", 2 * max(map(len, tokens)))
    generate(tiny_model, tokens, max_new_tokens=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]


def test_a_folder_without_a_model_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot load this model"):
        load_language_model(tmp_path)


@pytest.mark.parametrize("model_type", ["blip-2", "pix2struct"])
def test_a_model_that_prompts_alone_do_not_run_is_refused_where_they_would(
    model_type: str, tmp_path: Path
) -> None:
    folder = build_twin({"model_type": model_type, **TRIALS[model_type][0]}, tmp_path / "twin", seed=0)
    model = _loaded(folder)
    assert not model.takes_prompts
    with pytest.raises(SourceError, match=r"prompts alone do not run it; give the direction by `find: file`"):
        final_log_probs(model, [[5, 6, 7]])


def test_the_layers_of_a_decoder_are_counted_and_not_its_encoders() -> None:
    sizes = {"vocab_size": 99, "d_model": 8, "decoder_ffn_dim": 8, "decoder_attention_heads": 2}
    network = MBartForCausalLM(MBartConfig(encoder_layers=3, decoder_layers=2, **sizes))
    assert network.config.num_hidden_layers == 3
    model = LanguageModel(network, tokenizer=None, name="mbart")
    assert model.n_layers == 2 and model.takes_prompts


@pytest.mark.parametrize("model_type", ["llama", "mbart", "rwkv", "recurrent_gemma", "paligemma"])
def test_a_prompt_gives_the_same_beside_a_longer_one(model_type: str, tmp_path: Path) -> None:
    """Also where padding would be counted as positions, or would run through a state."""
    folder = build_twin({"model_type": model_type, **TRIALS[model_type][0]}, tmp_path / "twin", seed=0)
    with quiet_transformers():
        model = _loaded(folder)
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16]]
    together = final_log_probs(model, prompts)
    alone = torch.cat([final_log_probs(model, [each]) for each in prompts])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def _loaded(folder: Path) -> LanguageModel:
    build_tokenizer().save_pretrained(folder)
    return load_language_model(folder, device="cpu")


def test_a_model_is_loaded_with_the_class_that_its_checkpoint_names(tmp_path: Path) -> None:
    """Emu3 is in two of transformers' mappings, and by the other one every weight would be missing."""
    model = _loaded(build_twin({"model_type": "emu3"}, tmp_path / "twin", seed=0))
    assert type(model.network).__name__ == "Emu3ForConditionalGeneration"


def test_a_checkpoint_without_all_weights_is_refused(tmp_path: Path) -> None:
    folder = build_twin({"model_type": "llama"}, tmp_path / "twin", seed=0)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"it lacks model\.norm\.weight"):
        _loaded(folder)


def test_a_config_that_its_own_class_refuses_is_a_source_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4, "num_hidden_layers": 1}'
    )
    with pytest.raises(SourceError, match=r"cannot load this model(?s:.)*not a multiple"):
        load_language_model(tmp_path)
