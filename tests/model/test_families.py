"""The tables against transformers: every tensor of every family's twin is classified, none twice."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from surgery.checkpoint.layout import open_checkpoint
from surgery.edit.proof import prove
from surgery.errors import AnatomyError
from surgery.hook_point import SITES as SITE_NAMES
from surgery.hook_point import HookPoint
from surgery.model.anatomy import read_anatomy
from surgery.model.families import FAMILIES, FILES, TOWERS, family_of
from surgery.model.families.table import Match, alternatives, fill, match_pattern
from surgery.model.families.trials import TRIALS
from surgery.model.interventions import ablating, changing
from surgery.model.language_model import LanguageModel
from surgery.model.loading import auto_class, quiet_transformers
from surgery.model.residuals import recording
from surgery.model.sites import MLP_NORMS, SITES, find_blocks
from surgery.model.twin import build_twin
from surgery.model.twin_inputs import twin_inputs
from tests.model.family_configs import CONFIGS, trials


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_that_transformers_writes_is_classified(name: str, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(build_twin(CONFIGS[name], tmp_path / "twin", seed=0))
    anatomy = read_anatomy(checkpoint.config, checkpoint.shapes)
    named = [writer.tensor for writer in anatomy.writers] + list(anatomy.readers)
    assert sorted(named) == sorted(checkpoint.shapes)
    settings = CONFIGS[name].get("text_config", CONFIGS[name])
    biases = sum(writer.bias for writer in anatomy.writers)
    flags = sum(bool(settings.get(flag)) for flag in ("attention_bias", "mlp_bias"))
    assert biases == flags * anatomy.n_layers


def _is_among(names: list[str], prefixes: tuple[str, ...], row: str) -> bool:
    return any(match_pattern(prefix + row, name) for prefix in prefixes for name in names)


UNREACHED = {
    "gemma4": {"{model.|}embed_audio.embedding_projection.weight"},
    "gemma4_unified": {
        "{model.|}embed_audio.embedding_projection.weight",
        "{model.|}embed_vision.embedding_projection.weight",
    },
    "minimax_m3_vl_text": {
        "layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight",
        "layers.{layer}.block_sparse_moe.shared_experts.down_proj.weight",
    },
}
"""Writers of towers that a default config has not got, and names that only minimax_m3_vl has, where they are
tried.
"""


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TRIALS)
def test_some_twin_has_each_writer_of_the_table(model_type: str, tmp_path: Path) -> None:
    """A writer that no twin has would be in the table unproved. A text tower's rows are tried with its
    family.
    """
    tower = TOWERS.get(model_type)
    if tower is None:
        own = FAMILIES[model_type].writers
    else:
        own = (*tower.writers, *(() if tower.own is None else tower.own.writers))
    rows = {row.pattern for row in own if not (tower and row.optional)} - UNREACHED.get(model_type, set())
    for index, settings in enumerate(TRIALS[model_type]):
        config = {"model_type": model_type, **settings}
        checkpoint = open_checkpoint(build_twin(config, tmp_path / str(index), seed=0))
        family = family_of(checkpoint.config)
        assert family is not None
        prefixes = (*family.prefixes, "")
        names = [writer.tensor for writer in read_anatomy(checkpoint.config, checkpoint.shapes).writers]
        rows -= {row for row in rows if _is_among(names, prefixes, row)}
    assert not rows


def test_every_family_is_tried_here_and_known_to_the_hooks() -> None:
    by_themselves = {name for name in FAMILIES if FILES[name] != "text"}
    assert set(TRIALS) == by_themselves | set(TOWERS)
    as_a_whole = {"phi4_multimodal", "diffusion_gemma"}
    assert set(SITES) == set(FAMILIES) | as_a_whole and not set(FAMILIES) & set(TOWERS)
    assert {config["model_type"] for config in CONFIGS.values()} < set(TRIALS)
    assert {tower.text for tower in TOWERS.values()} <= set(FAMILIES)


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [("mbart", "MBartForConditionalGeneration"), ("whisper", "WhisperForConditionalGeneration")],
)
def test_with_its_encoder_a_decoder_is_the_same_family(
    model_type: str, architecture: str, tmp_path: Path
) -> None:
    config = {"model_type": model_type, "architectures": [architecture]}
    checkpoint = open_checkpoint(build_twin(config, tmp_path / "twin", seed=0))
    anatomy = read_anatomy(checkpoint.config, checkpoint.shapes)
    encoder = [name for name in checkpoint.shapes if name.startswith("model.encoder.")]
    assert checkpoint.config["architectures"] == [architecture] and encoder
    assert not set(encoder) & {writer.tensor for writer in anatomy.writers}
    assert prove(config).exact


@pytest.mark.parametrize("model_type", FAMILIES)
def test_no_pattern_is_both_writer_and_reader(model_type: str) -> None:
    family = FAMILIES[model_type]
    writers = [row.pattern for row in family.writers]
    assert len(set(writers)) == len(writers) and len(set(family.readers)) == len(family.readers)
    assert not set(writers) & set(family.readers)
    first = family.writers[0]
    assert (first.role, first.residual_axis, first.bias, first.needs) == ("embedding", 1, False, None)


def test_patterns_read_numbers() -> None:
    pattern = "layers.{layer}.mlp.down_proj.weight"
    assert match_pattern(pattern, "layers.10.mlp.down_proj.weight") == Match(10, None)
    for name in (
        "layers.1x.mlp.down_proj.weight",
        "layers.010.mlp.down_proj.weight",
        "layers..mlp.down_proj.weight",
        "layers.1.mlpxdown_proj.weight",
        "x.layers.1.mlp.down_proj.weight",
        "layers.1.mlp.down_proj.weight\n",
        "layers.٣.mlp.down_proj.weight",
    ):
        assert match_pattern(pattern, name) is None
    assert match_pattern("norm.weight", "norm.weight") == Match(None, None)
    assert alternatives("{model.|}x.{index}") == ("model.x.{index}", "x.{index}")
    assert match_pattern("{model.|}x.{index}", "x.3") == Match(None, None)
    assert fill(pattern, 7) == "layers.7.mlp.down_proj.weight"


ONE_EACH = (
    "gpt2",
    "opt",
    "phi",
    "falcon",
    "glm4",
    "mpt",
    "hyperclovax",
    "granitemoeshared",
    "jamba",
    "qwen3_next",
    "mamba",
    "zamba",
    "deepseek_v4",
    "mbart",
    "llava",
    "blip-2",
    "udop",
    "vision-encoder-decoder",
)
"""Model types that together have every shape of an entry in SITES."""


def _stream_after_ablating_while_running(config: dict[str, Any], folder: Path) -> float:
    """The largest component left, relative to the stream, when the hooks remove a direction and no weight is
    edited."""
    twin = open_checkpoint(build_twin(config, folder, seed=0))
    network = auto_class(twin.config).from_pretrained(folder, dtype=torch.float32)
    direction = np.random.default_rng(0).standard_normal(32)
    direction /= np.linalg.norm(direction)
    seen: list[float] = []

    def look(_: Any, __: Any, output: Any) -> None:
        stream = (output[0] if isinstance(output, tuple) else output).detach().double().numpy()
        stream = stream.reshape(-1, len(direction))  # several may lie side by side
        seen.append(float(np.abs(stream @ direction).max() / np.linalg.norm(stream, axis=-1).mean()))

    model = SimpleNamespace(network=network.eval(), device=torch.device("cpu"))
    with quiet_transformers(), torch.no_grad(), ablating(cast(LanguageModel, model), direction):
        for block in find_blocks(network):
            block.module.register_forward_hook(look)
        network(**twin_inputs(network, 0), use_cache=False)
    assert len(seen) >= 2
    return max(seen)


@pytest.mark.parametrize("model_type", ONE_EACH)
def test_hooks_at_the_sites_clear_the_stream(model_type: str, tmp_path: Path) -> None:
    config = {"model_type": model_type, **TRIALS[model_type][-1]}
    assert _stream_after_ablating_while_running(config, tmp_path / "twin") < 1e-5


UNHOOKED = ("hrm_text", "diffusion_gemma", "gpt_neox_japanese")
HOOKED = [
    name for name in TRIALS if name not in UNHOOKED and (name in TOWERS or FAMILIES[name].approximate is None)
]
"""All but those whose stream hooks cannot clear: the approximate ones, HRM and Diffusion Gemma, whose
second stack reads the embedding past the first block, and GPT-NeoX Japanese, whose block adds a bias itself.
"""


@pytest.mark.slow
@pytest.mark.parametrize("config", trials(*HOOKED))
def test_hooks_at_every_familys_sites_clear_the_stream(config: dict[str, Any], tmp_path: Path) -> None:
    assert _stream_after_ablating_while_running(config, tmp_path / "twin") < 1e-5


@pytest.mark.parametrize("model_type", ["deepseek_v4", "qwen4_exp_text"])
def test_several_streams_are_not_read_as_one(model_type: str, tmp_path: Path) -> None:
    config = {"model_type": model_type, **TRIALS[model_type][0]}
    folder = build_twin(config, tmp_path / "twin", seed=0)
    with quiet_transformers():
        network = auto_class(config).from_pretrained(folder).eval()
    model = cast(LanguageModel, SimpleNamespace(network=network, d_model=32))
    with torch.no_grad(), pytest.raises(AnatomyError, match="keeps several streams"), recording(model, 1):
        network(torch.arange(3, 15)[None], use_cache=False)


@pytest.mark.parametrize("model_type", ["hrm_text", "longcat_flash"])
def test_blocks_that_are_no_layers_are_not_read_as_such(model_type: str, tmp_path: Path) -> None:
    folder = build_twin({"model_type": model_type, **TRIALS[model_type][0]}, tmp_path / "twin", seed=0)
    with quiet_transformers():
        network = auto_class({"model_type": model_type}).from_pretrained(folder).eval()
    model = LanguageModel(network, tokenizer=None, name=model_type)
    with torch.no_grad(), pytest.raises(AnatomyError, match="its blocks run"), recording(model, 1):
        network(torch.arange(3, 15)[None], use_cache=False)


@pytest.mark.parametrize("model_type", MLP_NORMS)
def test_the_sites_of_a_block_add_up(model_type: str, tmp_path: Path) -> None:
    """resid_pre + attn_out = resid_mid, resid_mid + mlp_out = resid_post; mlp_in is resid_mid normed, and
    mlp_normalized the same before gain and bias."""
    config = {"model_type": model_type, **TRIALS.get(model_type, ({},))[0]}
    folder = build_twin(config, tmp_path / "twin", seed=0)
    with quiet_transformers():
        network = auto_class(config).from_pretrained(folder).eval()
    model = cast(LanguageModel, SimpleNamespace(network=network))
    sites = SITE_NAMES
    taken: dict[str, torch.Tensor] = {}

    def keeper(site: str) -> Any:
        return lambda hidden: taken.setdefault(site, hidden)

    with torch.inference_mode(), ExitStack() as stack:
        for site in sites:
            stack.enter_context(changing(model, HookPoint(1, site), keeper(site)))
        network(torch.arange(3, 15)[None])
        block = find_blocks(network)[1]
        normed = block.mlp_norm(taken["resid_mid"])
    size = float(taken["resid_post"].abs().max())
    torch.testing.assert_close(
        taken["resid_pre"] + taken["attn_out"], taken["resid_mid"], atol=1e-5 * size, rtol=0
    )
    torch.testing.assert_close(
        taken["resid_mid"] + taken["mlp_out"], taken["resid_post"], atol=1e-5 * size, rtol=0
    )
    torch.testing.assert_close(normed, taken["mlp_in"])
    centred = taken["resid_mid"] - taken["resid_mid"].mean(-1, keepdim=True)
    bare = centred if model_type == "gpt2" else taken["resid_mid"]
    bare = bare / (bare.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(taken["mlp_normalized"], bare, rtol=1e-3, atol=1e-4)
    assert float((taken["mlp_normalized"] - taken["mlp_in"]).abs().max()) > 1e-2
    again: dict[str, torch.Tensor] = {}
    with torch.inference_mode(), ExitStack() as stack:
        stack.enter_context(changing(model, HookPoint(1, "mlp_normalized"), lambda hidden: 2 * hidden))
        stack.enter_context(
            changing(model, HookPoint(1, "mlp_in"), lambda hidden: again.setdefault("in", hidden))
        )
        network(torch.arange(3, 15)[None])
    bias = getattr(block.mlp_norm, "bias", None)
    expected = 2 * normed - (0 if bias is None else bias)
    torch.testing.assert_close(again["in"], expected, rtol=1e-4, atol=1e-5)
    assert float((taken["mlp_in"] - taken["resid_mid"]).abs().max()) > 1e-3
