"""Adapters against hooks: stock PEFT loads them, and they do what the run-time edit does."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from surgery.checkpoint.layout import open_checkpoint
from surgery.direction.direction import Direction, unit_direction
from surgery.edit.addition import make_additions
from surgery.edit.plan import make_plan
from surgery.edit.runtime import running
from surgery.errors import EditError
from surgery.export.peft import make_adapter, write_adapter
from surgery.model.anatomy import read_anatomy
from surgery.model.language_model import LanguageModel, chat_tokens, final_log_probs
from surgery.model.loading import load_language_model
from surgery.recipe.editing import Ablate, Add, Scale

PROMPTS = ["apple", "How do I water the fern?", "river stone 1 2 3"]


def _directions(d_model: int) -> dict[str, Direction]:
    rng = np.random.default_rng(0)
    return {name: unit_direction(3 * rng.standard_normal(d_model)) for name in ("one", "two")}


def _export(folder: Path, steps: list[Ablate | Add], out: Path) -> dict[str, Direction]:
    checkpoint = open_checkpoint(folder)
    anatomy = read_anatomy(
        checkpoint.config, {name: entry.shape for name, entry in checkpoint.tensors.items()}
    )
    directions = _directions(anatomy.d_model)
    vectors = {name: direction.vector for name, direction in directions.items()}
    plan = make_plan(checkpoint, anatomy, [step for step in steps if isinstance(step, Ablate)], vectors)
    additions = make_additions(
        [step for step in steps if isinstance(step, Add)], directions, anatomy.n_layers
    )
    out.mkdir()
    write_adapter(make_adapter(plan, additions, checkpoint, anatomy, base=str(folder)), out)
    return directions


def _log_probs(model: LanguageModel) -> torch.Tensor:
    return final_log_probs(model, [chat_tokens(model, prompt) for prompt in PROMPTS])


CASES: dict[str, list[Ablate | Add]] = {
    "ablation": [Ablate(ablate="one")],
    "partial": [Ablate(ablate="one", strength=0.4)],
    "strengthened, some layers": [Ablate(ablate="one", strength=-0.5, layers=[1], writers=["mlp_out"])],
    "two directions": [Ablate(ablate="one"), Ablate(ablate="two", strength=0.5)],
    "addition": [Add(add="one", layer=1, scale=Scale(norm=2.0))],
    "two additions": [
        Add(add="one", layer=1, scale=Scale(times=0.3)),
        Add(add="two", layer=2, scale=Scale(norm=1.0)),
    ],
    "both": [
        Ablate(ablate="one", writers=["attention_out", "mlp_out"]),
        Add(add="two", layer=0, scale=Scale(norm=2.0)),
    ],
}


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES)
def test_a_loaded_adapter_equals_the_hook(
    tiny_folder: Path, tiny_model: Any, tmp_path: Path, steps: Any
) -> None:
    directions = _export(tiny_folder, steps, tmp_path / "out")
    with running(tiny_model, steps, directions):
        expected = _log_probs(tiny_model)
    effect = float((expected - _log_probs(tiny_model)).abs().max())
    found = _log_probs(load_language_model(tiny_folder, adapter=tmp_path / "out", device="cpu"))
    assert effect > 0.01
    assert float((found - expected).abs().max()) < 1e-4 * max(1.0, effect)


def test_stock_peft_loads_and_merges_an_ablation(tiny_folder: Path, tiny_model: Any, tmp_path: Path) -> None:
    from peft import PeftModel

    steps = CASES["two directions"]
    directions = _export(tiny_folder, steps, tmp_path / "out")
    with running(tiny_model, steps, directions):
        expected = _log_probs(tiny_model)
    wrapped = PeftModel.from_pretrained(copy.deepcopy(tiny_model.network), tmp_path / "out")
    merged = LanguageModel(wrapped.merge_and_unload(), tiny_model.tokenizer, "merged")
    assert float((_log_probs(merged) - expected).abs().max()) < 1e-4


def test_the_files_are_minimal_and_the_same_each_time(tiny_folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _export(tiny_folder, CASES["ablation"], tmp_path / name)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 1
    assert "lora_bias" not in config
    assert len(config["target_modules"]) == 7  # the embedding, and two writers in each of three layers
    tensors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert "base_model.model.model.embed_tokens.lora_embedding_A" in tensors


def test_what_peft_cannot_hold_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    steps: list[Ablate | Add] = [Ablate(ablate="one"), Add(add="two", layer=0)]
    with pytest.raises(EditError, match="embedding edit and biases"):
        _export(tiny_folder, steps, tmp_path / "out")


def test_an_addition_behind_a_norm_is_refused(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder = tmp_path / "gemma2"
    Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
        )
    ).save_pretrained(folder)
    with pytest.raises(EditError, match=r"a norm .* rescales whatever the MLP adds"):
        _export(folder, CASES["addition"], tmp_path / "out")


def test_a_layer_that_does_not_exist_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EditError, match="layers 0 to 2"):
        _export(tiny_folder, [Add(add="one", layer=3)], tmp_path / "out")
