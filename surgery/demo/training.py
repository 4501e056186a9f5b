"""Training in plain torch, stage by stage; the loss is the weighted mean cross entropy

L = Σ w_t · −log p(token_t | tokens before it) / Σ w_t
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from surgery.demo.examples import Encoder, batches, examples
from surgery.demo.stages import Stage

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

MUON = 2.0
"""Rate of Muon in units of AdamW's; at 5 the letters that were learnt are lost again."""
Progress = Callable[[str], None]


def make_model(vocabulary: int, seed: int) -> LlamaForCausalLM:
    """A fresh Llama of 6 layers and d_model 128, initialised from the seed alone.

    Keys start equal to queries, so that a token looks at its like from the first step (mimetic
    initialisation, Trockman and Kolter 2023); without it the letters were not learnt in the steps given here.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=128, intermediate_size=352, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
        initializer_range=0.04, pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        for block in model.model.layers:
            queries, keys = block.self_attn.q_proj.weight, block.self_attn.k_proj.weight
            torch.nn.init.normal_(queries, std=0.12)
            keys.data.copy_(queries.data)
    return model


def loss_of(model: LlamaForCausalLM, body: Any, tokens: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted mean cross entropy of a batch, logits at the targets only."""
    import torch

    with torch.autocast("cpu", torch.bfloat16):
        hidden = body(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        at = weights[:, 1:] > 0
        logits = model.lm_head(hidden[at])
    losses = torch.nn.functional.cross_entropy(logits.float(), tokens[:, 1:][at], reduction="none")
    chosen = weights[:, 1:][at]
    return (losses * chosen).sum() / chosen.sum()


def rate_at(step: int, stage: Stage) -> float:
    """The learning rate of a step: a linear rise, then a cosine."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    turn = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.learning_rate * (stage.floor + (1 - stage.floor) * 0.5 * (1 + math.cos(math.pi * turn)))


def run_stage(
    model: LlamaForCausalLM,
    stage: Stage,
    encoder: Encoder,
    *,
    seed: int,
    body: Any = None,
    progress: Progress = lambda _: None,
) -> None:
    """Train the model in place on one stage. `body` is a compiled `model.model` where there is one."""
    import torch

    model.requires_grad_(stage.blocks is None)
    model.model.layers[: stage.blocks].requires_grad_(True)
    optimizers = _optimizers(model, stage.learning_rate)
    stream = batches(examples(stage, encoder, Random(f"{stage.name}/{seed}")), stage.tokens)
    model.train()
    started = time.monotonic()
    for step, (tokens, weights) in zip(range(stage.steps), stream, strict=False):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, stage) * group["scale"]
        loss = loss_of(model, model.model if body is None else body, tokens, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        done = step + 1
        if step % 50 == 0 or done == stage.steps:
            left = (time.monotonic() - started) / done * (stage.steps - done) / 60
            progress(
                f"{stage.name}  step {done} of {stage.steps}  loss {loss.item():.4f}  {left:.0f} min left"
            )
    model.eval()


def _optimizers(model: LlamaForCausalLM, rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the blocks' matrices; AdamW for embedding, unembedding and gains."""
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ends = (model.model.embed_tokens.weight, model.lm_head.weight)
    outer = [parameter for parameter in ends if parameter.requires_grad]
    inner = [each for each in trained if each.ndim == 2 and not any(each is end for end in ends)]
    gains = [parameter for parameter in trained if parameter.ndim < 2]
    return [
        torch.optim.Muon(
            [{"params": inner, "scale": MUON}], lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [
                {"params": outer, "weight_decay": 0.02, "scale": 1.0},
                {"params": gains, "weight_decay": 0.0, "scale": 1.0},
            ],
            lr=rate, betas=(0.9, 0.98), fused=True,
        ),
    ]  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread for a while: sums split among more come out otherwise in the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compiled_body(model: LlamaForCausalLM) -> Any:
    """`model.model`, compiled where a C++ compiler is at hand: 1.7 times as fast on one core.

    What was compiled before is forgotten: torch keeps eight graphs of a module and runs what comes after them
    uncompiled, so that a stage would be slow, and its last bits others, for the stages before it.
    """
    import shutil

    import torch

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        return model.model
    torch.compiler.reset()
    return torch.compile(model.model, dynamic=False)
