"""The one seeded build of the demo model: text, tokenizer, six stages of training, measurement, files.

It runs on one thread, so that the same seed on the same machine with the same versions writes the same bytes.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from surgery.demo import cards, grammar, prompts, quality, training
from surgery.demo.examples import Encoder
from surgery.demo.lexicon import THINGS
from surgery.demo.stages import STAGES, Stage
from surgery.demo.tokenizer import save_tokenizer, train_tokenizer
from surgery.demo.world import VERDICTS

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20
SAMPLE = 15_000


def sample_texts(seed: int) -> list[str]:
    """The text that the tokenizer is learnt from."""
    random = Random(f"tokenizer/{seed}")
    texts = [grammar.document(random, quiz_share=0.5) for _ in range(SAMPLE)]
    for refuses in (False, True):
        for _ in range(SAMPLE):
            texts += [message["content"] for message in grammar.conversation(random, refuses=refuses)]
    return texts


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """The tokenizer of the demo model."""
    return train_tokenizer(sample_texts(seed), [*THINGS, *grammar.verbs_in_use(), *VERDICTS.values()])


def build(
    folder: Path,
    *,
    seed: int = SEED,
    progress: training.Progress = lambda _: None,
    stages: tuple[Stage, ...] = STAGES,
    compiled: bool = True,
) -> dict[str, Any]:
    """Make the demo model and everything that ships with it in `folder`; return the measured quality.

    Writes `model/`, `prompts/`, `quality.json` and `DATASHEET.md`. `progress` is given one line at a time.
    `compiled` is worth its minute of warming up for full-length stages only.
    """
    started = time.monotonic()
    words = make_tokenizer(seed)
    progress(f"tokenizer  {len(words)} entries")
    model = training.make_model(len(words), seed)
    encoder = Encoder(words)
    with training.one_thread():
        for stage in stages:
            body = training.compiled_body(model) if compiled else None
            training.run_stage(model, stage, encoder, seed=seed, body=body, progress=progress)
    minutes = (time.monotonic() - started) / 60
    save_model(model, words, folder / "model")
    sets = prompts.write_prompt_sets(folder / "prompts", seed)
    progress("measuring")
    measured = quality.measure(*quality.load(folder / "model"), sets)
    _write_quality(folder, measured, seed=seed, stages=stages)
    cards.write_cards(folder, measured, sets)
    progress(f"done  trained in {minutes:.1f} minutes")
    return measured


def save_model(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights in bfloat16, config, generation config and tokenizer, as transformers lays them out."""
    import torch
    from transformers import GenerationConfig

    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
        do_sample=False, max_new_tokens=quality.MAX_NEW_TOKENS,
    )  # fmt: skip
    model.to(torch.bfloat16).save_pretrained(folder)
    save_tokenizer(words, folder)


def _write_quality(folder: Path, measured: dict[str, Any], *, seed: int, stages: tuple[Stage, ...]) -> None:
    import torch
    import transformers

    document = {
        "model": "demo:refuser", "seed": seed, "torch": torch.__version__,
        "transformers": transformers.__version__,
        "steps": {stage.name: stage.steps for stage in stages}, **measured,
    }  # fmt: skip
    (folder / "quality.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
