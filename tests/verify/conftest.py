"""Two tiny random models over one vocabulary, and a tokenizer that knows letters only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from surgery.model.language_model import LanguageModel


@pytest.fixture(scope="session")
def other_model(tiny_model: LanguageModel) -> LanguageModel:
    """The tiny model with other random weights."""
    import torch

    torch.manual_seed(7)
    network = type(tiny_model.network)(tiny_model.network.config).eval().requires_grad_(False)
    return LanguageModel(network, tiny_model.tokenizer, "other")


@pytest.fixture(scope="session")
def letter_model() -> LanguageModel:
    """A tiny model whose tokenizer makes one token of each byte, so that " A" takes two; no chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = ["<pad>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>")
    torch.manual_seed(3)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(wrapped),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=1,
        )
    )
    return LanguageModel(network.eval().requires_grad_(False), wrapped, "letters")


@pytest.fixture(scope="session")
def plain_log_likelihood() -> Callable[[LanguageModel, str, str, bool], float]:
    """A second, plain scorer: one unpadded forward pass, float64 log-softmax, summed over the answer."""
    import torch

    def score(model: LanguageModel, context: str, answer: str, special: bool) -> float:
        given = model.tokenizer(context, add_special_tokens=special)["input_ids"]
        whole = model.tokenizer(context + answer, add_special_tokens=special)["input_ids"]
        assert whole[: len(given)] == given
        with torch.no_grad():
            logits = model.network(input_ids=torch.tensor([whole])).logits[0].double()
        total = 0.0
        for position in range(len(given), len(whole)):
            row = logits[position - 1]
            total += float(row[whole[position]] - torch.logsumexp(row, dim=0))
        return total

    return score
