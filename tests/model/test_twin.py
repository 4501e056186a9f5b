"""The twin keeps what decides where things are written, and hides nothing behind neutral weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surgery.checkpoint.hashes import sha256_file
from surgery.checkpoint.layout import open_checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.errors import AnatomyError
from surgery.model.twin import build_twin
from surgery.model.twin_config import shrink
from surgery.model.twin_sizes import D_MODEL, VOCABULARY
from tests.model.family_configs import CONFIGS


@pytest.mark.parametrize("name", CONFIGS)
def test_flags_survive_and_sizes_shrink(name: str) -> None:
    small = shrink(CONFIGS[name]).get_text_config()
    original = CONFIGS[name].get("text_config", CONFIGS[name])
    assert small.hidden_size == D_MODEL and small.num_hidden_layers >= 2
    for flag in ("attention_bias", "mlp_bias", "use_sliding_window"):
        if flag in original:
            assert getattr(small, flag) == original[flag]
    head_dim = getattr(small, "head_dim", None) or D_MODEL // small.num_attention_heads
    stated = original.get("head_dim")
    square = stated is None or stated * original["num_attention_heads"] == original["hidden_size"]
    if "gemma" not in name:  # their default head_dim is a config class's own
        assert (head_dim * small.num_attention_heads == D_MODEL) == square


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text", "gemma3", "qwen2 sliding"])
def test_every_kind_of_layer_is_there(name: str) -> None:
    assert set(shrink(CONFIGS[name]).get_text_config().layer_types) == {"sliding_attention", "full_attention"}


@pytest.mark.parametrize("name", ["llama tied, biases", "gemma2 bias, untied"])
def test_gains_and_biases_are_not_neutral(name: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(build_twin(CONFIGS[name], tmp_path / "t", seed=0))
    vectors = [
        read_tensor(checkpoint, tensor) for tensor, shape in checkpoint.shapes.items() if len(shape) == 1
    ]
    assert len(vectors) > 8 and all(float(vector.std()) > 0.1 for vector in vectors)


@pytest.mark.parametrize("config", [CONFIGS["llama"], {"model_type": "gpt_oss"}, {"model_type": "mamba"}])
def test_the_seed_decides_and_the_global_one_neither_matters_nor_moves(
    config: dict[str, object], tmp_path: Path
) -> None:
    hashes = []
    for index, seed in enumerate((0, 0, 1)):
        torch.manual_seed(index)
        state = torch.random.get_rng_state()
        folder = build_twin(config, tmp_path / str(index), seed=seed)
        assert torch.equal(state, torch.random.get_rng_state())
        hashes.append(sha256_file(folder / "model.safetensors"))
    assert hashes[0] == hashes[1] != hashes[2]


def test_building_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build_twin(CONFIGS["phi3 long"], tmp_path / "t", seed=0)
    assert capfd.readouterr() == ("", "")


def test_the_callers_config_is_left_alone() -> None:
    import copy

    before = copy.deepcopy(CONFIGS)
    for config in CONFIGS.values():
        shrink(config)
    assert before == CONFIGS


@pytest.mark.parametrize(
    "config",
    [{"model_type": "no_such_model"}, {}, {"model_type": "llama", "num_attention_heads": "many"}],
)
def test_a_config_that_no_twin_can_be_built_from_is_refused(
    config: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(AnatomyError, match="model type"):
        build_twin(config, tmp_path / "t", seed=0)


@pytest.mark.parametrize("model_type", ["chameleon", "emu3"])
def test_no_token_of_an_image_lies_outside_a_twins_vocabulary(model_type: str) -> None:
    seen = {"<image>": 8711, "IMGIMGBZ": 7, **{f"<|visual token {n:06d}|>": 151_000 + n for n in range(9)}}
    config = shrink({"model_type": model_type, "vocabulary_map": seen})
    assert max(config.vocabulary_map.values()) < VOCABULARY and len(config.vocabulary_map) < len(seen)
