"""Classifying tensors: what is accepted, and that everything unknown, missing or misshapen is listed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from surgery.errors import AnatomyError
from surgery.model.anatomy import Gain, Writer, read_anatomy
from surgery.model.families import FAMILIES, TOWERS

D, F, V = 8, 12, 20
CONFIG = {"model_type": "llama", "hidden_size": D, "num_hidden_layers": 12, "vocab_size": V}

Shapes = dict[str, tuple[int, ...]]


def llama_shapes(layers: int = 12, *, heads: int = D, prefix: str = "model.") -> Shapes:
    shapes: Shapes = {
        f"{prefix}embed_tokens.weight": (V, D),
        f"{prefix}norm.weight": (D,),
        "lm_head.weight": (V, D),
    }
    for layer in range(layers):
        here = f"{prefix}layers.{layer}."
        shapes |= {f"{here}self_attn.{part}_proj.weight": (heads, D) for part in "qkv"}
        shapes |= {f"{here}{norm}.weight": (D,) for norm in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{here}self_attn.o_proj.weight": (D, heads), f"{here}mlp.down_proj.weight": (D, F)}
        shapes |= {f"{here}mlp.{part}_proj.weight": (F, D) for part in ("gate", "up")}
    return shapes


def _gemma2_shapes(layers: int) -> Shapes:
    shapes = llama_shapes(layers)
    del shapes["lm_head.weight"]
    for layer in range(layers):
        shapes |= {
            f"model.layers.{layer}.{part}_feedforward_layernorm.weight": (D,) for part in ("pre", "post")
        }
    return shapes


def _problem(config: dict[str, Any], shapes: Shapes) -> str:
    with pytest.raises(AnatomyError) as caught:
        read_anatomy(config, shapes)
    return str(caught.value)


def test_every_tensor_is_a_writer_or_a_reader() -> None:
    shapes = llama_shapes()
    anatomy = read_anatomy(CONFIG, shapes)
    assert {writer.tensor for writer in anatomy.writers} | set(anatomy.readers) == set(shapes)
    assert len(anatomy.writers) == 1 + 2 * 12 and len(anatomy.writers) + len(anatomy.readers) == len(shapes)
    assert (anatomy.n_layers, anatomy.d_model, anatomy.tied, anatomy.family) == (12, D, False, "llama")
    assert "lm_head.weight" in anatomy.readers


def test_layers_are_numbers_and_not_prefixes() -> None:
    layers = {writer.tensor: writer.layer for writer in read_anatomy(CONFIG, llama_shapes()).writers}
    assert layers["model.layers.1.mlp.down_proj.weight"] == 1
    assert layers["model.layers.11.mlp.down_proj.weight"] == 11
    assert layers["model.embed_tokens.weight"] is None
    said = _problem(CONFIG, llama_shapes() | {"model.layers.01.mlp.down_proj.weight": (D, F)})
    assert "not recognised: model.layers.01.mlp.down_proj.weight" in said


def test_the_residual_axis_of_a_square_matrix_comes_from_the_table() -> None:
    axes = {
        writer.tensor: writer.residual_axis for writer in read_anatomy(CONFIG, llama_shapes(heads=D)).writers
    }
    assert axes["model.layers.3.self_attn.o_proj.weight"] == 0
    square = llama_shapes() | {"model.embed_tokens.weight": (D, D), "lm_head.weight": (D, D)}
    axes = {writer.tensor: writer.residual_axis for writer in read_anatomy(CONFIG, square).writers}
    assert axes["model.embed_tokens.weight"] == 1


def test_unknown_tensors_are_all_listed() -> None:
    extra = {"model.layers.0.mlp.experts.3.down_proj.weight": (D, F), "model.steer": (D,)}
    said = _problem(CONFIG, llama_shapes() | extra)
    assert all(name in said for name in extra)


def test_missing_writers_are_all_listed() -> None:
    shapes = llama_shapes()
    gone = [
        "model.layers.10.self_attn.o_proj.weight",
        "model.layers.4.mlp.down_proj.weight",
        "model.embed_tokens.weight",
    ]
    for name in gone:
        del shapes[name]
    said = _problem(CONFIG, shapes)
    assert all(name in said for name in gone) and said.count("missing:") == 3


def test_layers_beyond_the_config_are_not_recognised() -> None:
    said = _problem(CONFIG, llama_shapes(13))
    assert "model.layers.12.mlp.down_proj.weight" in said and "model.layers.12.input_layernorm.weight" in said


def test_a_wrong_width_is_named() -> None:
    said = _problem(CONFIG, llama_shapes() | {"model.layers.2.self_attn.o_proj.weight": (D + 1, D)})
    assert (
        "model.layers.2.self_attn.o_proj.weight: has shape [9, 8]; expected 2 axes with d_model 8 on axis 0"
        in said
    )


def test_a_bias_must_be_what_the_config_says() -> None:
    biases = {f"model.layers.{layer}.mlp.down_proj.bias": (D,) for layer in range(12)}
    said = _problem(CONFIG, llama_shapes() | biases)
    assert "config.json has no mlp_bias, so loaders would drop: model.layers.0.mlp.down_proj.bias" in said
    assert "missing: model.layers.0.mlp.down_proj.bias" in _problem(
        CONFIG | {"mlp_bias": True}, llama_shapes()
    )
    anatomy = read_anatomy(CONFIG | {"mlp_bias": True}, llama_shapes() | biases)
    assert sum(writer.bias for writer in anatomy.writers) == 12
    mistral = CONFIG | {"model_type": "mistral"}  # no bias exists there, whatever the config says
    assert "not recognised" in _problem(mistral | {"mlp_bias": True}, llama_shapes() | biases)


def test_gains_of_post_norms_are_found_layer_by_layer() -> None:
    anatomy = read_anatomy(CONFIG | {"model_type": "gemma2", "num_hidden_layers": 2}, _gemma2_shapes(2))
    writers = {writer.tensor: writer for writer in anatomy.writers}
    assert writers["model.layers.1.self_attn.o_proj.weight"] == Writer(
        tensor="model.layers.1.self_attn.o_proj.weight",
        role="attention_out",
        layer=1,
        residual_axis=0,
        gain=Gain("model.layers.1.post_attention_layernorm.weight", 1.0),
        bias=False,
    )
    down = writers["model.layers.0.mlp.down_proj.weight"]
    assert down.gain == Gain("model.layers.0.post_feedforward_layernorm.weight", 1.0)
    assert writers["model.embed_tokens.weight"].gain is None and writers["model.embed_tokens.weight"].tied


def test_a_missing_post_norm_is_named() -> None:
    shapes = _gemma2_shapes(2)
    del shapes["model.layers.1.post_feedforward_layernorm.weight"]
    said = _problem(CONFIG | {"model_type": "gemma2", "num_hidden_layers": 2}, shapes)
    assert "what stands behind model.layers.1.mlp.down_proj.weight is missing" in said


TIED = CONFIG | {"tie_word_embeddings": True}


def test_tied_copies_on_disk_are_writers_together() -> None:
    anatomy = read_anatomy(TIED, llama_shapes())
    assert {writer.tensor for writer in anatomy.writers if writer.tied} == {
        "model.embed_tokens.weight",
        "lm_head.weight",
    }
    assert all(writer.residual_axis == 1 for writer in anatomy.writers if writer.tied)


@pytest.mark.parametrize("kept", ["model.embed_tokens.weight", "lm_head.weight"])
def test_a_tied_embedding_may_have_either_name(kept: str) -> None:
    shapes = llama_shapes()
    for name in {"model.embed_tokens.weight", "lm_head.weight"} - {kept}:
        del shapes[name]
    anatomy = read_anatomy(TIED, shapes)
    assert [writer.tensor for writer in anatomy.writers if writer.role == "embedding"] == [kept]


def test_an_unknown_family_is_refused_with_its_candidates() -> None:
    shapes = {
        "transformer.h.0.attn.c_proj.weight": (D, D),
        "transformer.h.10.attn.c_proj.weight": (D, D),
        "x": (3,),
    }
    said = _problem({"model_type": "gpt7", "n_embd": D}, shapes)
    assert f"known are {', '.join(sorted({*FAMILIES, *TOWERS}))}" in said
    assert said.endswith("to be classified:\n  transformer.h.*.attn.c_proj.weight")
    assert "model type None" in _problem({}, {})


def test_quantised_weights_are_refused() -> None:
    said = _problem(CONFIG | {"quantization_config": {"quant_method": "gptq"}}, llama_shapes())
    assert "quantised (gptq)" in said and "give the unquantised model" in said


@pytest.mark.parametrize("value", [None, 0, -1, "12", 2.0, True])
def test_a_config_without_its_sizes_is_refused(value: object) -> None:
    assert "num_hidden_layers" in _problem(CONFIG | {"num_hidden_layers": value}, llama_shapes())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"num_hidden_layers": 10**9}, "speaks of 1,000,000,000 layers, more than any"),
        ({"model_type": "deepseek_v3", "n_routed_experts": 10**9}, "12 layers of 1,000,000,000 experts"),
    ],
)
def test_a_config_of_impossible_size_is_refused_at_once(config: dict[str, Any], said: str) -> None:
    """Each layer's and each expert's names are made and looked for."""
    assert said in _problem(CONFIG | config, llama_shapes())


def test_a_writer_that_holds_nothing_is_named() -> None:
    said = _problem(CONFIG, llama_shapes() | {"model.layers.2.mlp.down_proj.weight": (D, 0)})
    assert "model.layers.2.mlp.down_proj.weight: has shape [8, 0], which holds no element" in said


def test_reading_imports_no_tensor_library() -> None:
    code = (
        "import sys, surgery.model.anatomy; assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode
        == 0
    )


MOE = {
    "model_type": "deepseek_v3",
    "hidden_size": D,
    "num_hidden_layers": 2,
    "n_routed_experts": 3,
    "n_shared_experts": 1,
}


def _moe_shapes() -> Shapes:
    """Layer 0 dense, layer 1 sparse."""
    shapes = {name: shape for name, shape in llama_shapes(2).items() if "layers.1.mlp" not in name}
    here = "model.layers.1.mlp."
    for part in ("experts.0", "experts.1", "experts.2", "shared_experts"):
        shapes |= {f"{here}{part}.{name}_proj.weight": (F, D) for name in ("gate", "up")}
        shapes[f"{here}{part}.down_proj.weight"] = (D, F)
    return shapes | {f"{here}gate.weight": (3, D), f"{here}gate.e_score_correction_bias": (3,)}


def test_dense_and_sparse_layers_and_every_expert_are_found() -> None:
    anatomy = read_anatomy(MOE, _moe_shapes())
    mlps = [writer.tensor for writer in anatomy.writers if writer.role == "mlp_out"]
    assert len(mlps) == 1 + 3 + 1 and all(name.endswith("down_proj.weight") for name in mlps)


@pytest.mark.parametrize("gone", ["experts.0", "experts.2", "shared_experts"])
def test_a_missing_expert_is_named(gone: str) -> None:
    shapes = _moe_shapes()
    del shapes[f"model.layers.1.mlp.{gone}.down_proj.weight"]
    assert f"missing: model.layers.1.mlp.{gone}.down_proj.weight" in _problem(MOE, shapes)


def test_an_expert_too_many_is_not_recognised() -> None:
    said = _problem(MOE, _moe_shapes() | {"model.layers.1.mlp.experts.3.down_proj.weight": (D, F)})
    assert "not recognised: model.layers.1.mlp.experts.3.down_proj.weight" in said


def test_a_layer_is_dense_or_sparse() -> None:
    both = _moe_shapes() | {"model.layers.1.mlp.down_proj.weight": (D, F)}
    assert "layer 1 has both mlp:dense and mlp:sparse" in _problem(MOE, both)
    neither = {name: shape for name, shape in _moe_shapes().items() if "layers.0.mlp" not in name}
    assert "missing: one of model.layers.0.mlp.down_proj.weight" in _problem(MOE, neither)


def test_the_number_of_experts_must_be_stated() -> None:
    config = {key: value for key, value in MOE.items() if key != "n_routed_experts"}
    assert "num_local_experts must be a whole number" in _problem(config, _moe_shapes())


def test_draft_layers_behind_the_last_are_left_alone() -> None:
    draft = {"model.layers.2.self_attn.o_proj.weight": (D, D), "model.layers.2.eh_proj.weight": (D, 2 * D)}
    for count in (1, 10**9):
        anatomy = read_anatomy(MOE | {"num_nextn_predict_layers": count}, _moe_shapes() | draft)
        assert set(draft) <= set(anatomy.readers)
    assert "not recognised" in _problem(MOE, _moe_shapes() | draft)


@pytest.mark.parametrize(
    "block", ["mtp.layers.0.", "model.mtp.layers.0.", "model.mtp_block.0.", "model.language_model.mtp."]
)
def test_draft_blocks_are_left_alone_in_every_family(block: str) -> None:
    """As Qwen3-Next, MiMo-V2 and ERNIE 4.5 publish theirs."""
    name = block + "mlp.down_proj.weight"
    assert name in read_anatomy(CONFIG, llama_shapes() | {name: (D, F)}).readers
    inside = "model.layers.0.mtp.down_proj.weight"
    assert f"not recognised: {inside}" in _problem(CONFIG, llama_shapes() | {inside: (D, F)})


def test_a_fused_tensor_has_its_axis_from_the_table() -> None:
    config = MOE | {"model_type": "gpt_oss", "num_hidden_layers": 1, "attention_bias": False}
    shapes = {name: shape for name, shape in llama_shapes(1).items() if ".mlp." not in name}
    experts = "model.layers.0.mlp.experts."
    shapes |= {f"{experts}down_proj": (3, D, D), f"{experts}down_proj_bias": (3, D)}
    axes = {writer.tensor: writer.residual_axis for writer in read_anatomy(config, shapes).writers}
    assert (axes[f"{experts}down_proj"], axes[f"{experts}down_proj_bias"]) == (2, 1)
    granite = MOE | {"model_type": "granitemoe", "num_hidden_layers": 1}
    shapes = {name: shape for name, shape in llama_shapes(1).items() if ".mlp." not in name}
    name = "model.layers.0.block_sparse_moe.output_linear.weight"
    axes = {
        each.tensor: each.residual_axis for each in read_anatomy(granite, shapes | {name: (3, D, D)}).writers
    }
    assert axes[name] == 1
    assert "expected 3 axes" in _problem(granite, shapes | {name: (D, D)})


def test_a_setting_that_breaks_the_table_is_refused() -> None:
    said = _problem(
        {"model_type": "opt", "hidden_size": D, "num_hidden_layers": 1, "do_layer_norm_before": False}, {}
    )
    assert "do_layer_norm_before: False; it normalises the stream itself" in said


QWEN_VL = {
    "model_type": "qwen3_vl_moe",
    "text_config": {
        "model_type": "qwen3_vl_moe_text",
        "hidden_size": D,
        "num_hidden_layers": 1,
        "num_experts": 3,
        "tie_word_embeddings": False,
    },
}


def _qwen_vl_shapes(down: tuple[int, ...]) -> Shapes:
    shapes = {
        name.replace("model.", "model.language_model."): shape
        for name, shape in llama_shapes(1).items()
        if ".mlp." not in name
    }
    shapes |= {"model.language_model.layers.0.mlp.experts.down_proj": down}
    merger = "model.visual.merger.linear_fc2"
    shapes |= {
        f"{merger}.weight": (D, F),
        f"{merger}.bias": (D,),
        "model.visual.blocks.0.attn.proj.weight": (F, F),
    }
    stack = "model.visual.deepstack_merger_list"
    return shapes | {f"{stack}.{index}.linear_fc2.weight": (D, F) for index in range(3)}


@pytest.mark.parametrize(("down", "axis"), [((3, D, F), 1), ((3, F, D), 2), ((3, D, D), 1)])
def test_experts_that_lie_either_way_round_are_read_as_loaders_do(down: tuple[int, ...], axis: int) -> None:
    writers = {writer.tensor: writer for writer in read_anatomy(QWEN_VL, _qwen_vl_shapes(down)).writers}
    assert writers["model.language_model.layers.0.mlp.experts.down_proj"].residual_axis == axis
    beside = [name for name, writer in writers.items() if writer.beside]
    assert len(beside) == 2 + 3 and all("linear_fc2" in name for name in beside)


def test_a_missing_projector_is_named() -> None:
    shapes = _qwen_vl_shapes((3, D, F))
    del shapes["model.visual.merger.linear_fc2.weight"]
    assert "missing: model.visual.merger.linear_fc2.weight" in _problem(QWEN_VL, shapes)
    other = QWEN_VL | {"text_config": {"model_type": "rwkv9", "hidden_size": D}}
    assert "model type 'qwen3_vl_moe'" in _problem(other, shapes)


@pytest.mark.parametrize("name", ["model.merger.fc.weight", "blocks.0.fc.weight", "model.audio.fc.weight"])
def test_what_stands_beside_one_models_text_tower_is_unknown_in_another(name: str) -> None:
    assert f"not recognised: {name}" in _problem(QWEN_VL, _qwen_vl_shapes((3, D, F)) | {name: (D, F)})


def test_a_norm_behind_some_kinds_of_layers_needs_their_names() -> None:
    config = CONFIG | {"model_type": "olmo_hybrid", "num_hidden_layers": 1, "layer_types": "many"}
    assert "layer_types must name the kind of every layer" in _problem(config, llama_shapes(1))


def _seeing(decoder: dict[str, Any]) -> tuple[dict[str, Any], Shapes]:
    """A GPT-2 that reads an image, as VisionEncoderDecoder holds it; the whole says that nothing is tied."""
    config = {"model_type": "vision-encoder-decoder", "tie_word_embeddings": False, "decoder": decoder}
    shapes: Shapes = {"transformer.wte.weight": (V, D), "transformer.wpe.weight": (F, D)}
    for part, width in (("attn", D), ("crossattention", D), ("mlp", F)):
        shapes[f"transformer.h.0.{part}.c_proj.weight"] = (width, D)
        shapes[f"transformer.h.0.{part}.c_proj.bias"] = (D,)
    shapes = {f"decoder.{name}": shape for name, shape in shapes.items()}
    return config, shapes | {"encoder.layernorm.weight": (F,), "enc_to_dec_proj.weight": (D, F)}


GPT2_READER = {"model_type": "gpt2", "n_embd": D, "n_layer": 1, "add_cross_attention": True}


def test_of_an_encoder_decoder_the_decoders_stream_is_edited() -> None:
    anatomy = read_anatomy(*_seeing(GPT2_READER))
    assert set(anatomy.readers) == {"encoder.layernorm.weight", "enc_to_dec_proj.weight"}
    assert anatomy.tied and anatomy.unembedding == "decoder.lm_head.weight"
    assert [writer.tensor for writer in anatomy.writers if writer.tied] == ["decoder.transformer.wte.weight"]


def test_cross_attention_must_be_what_the_config_says() -> None:
    config, shapes = _seeing({key: GPT2_READER[key] for key in ("model_type", "n_embd", "n_layer")})
    assert "config.json has no add_cross_attention, so loaders would drop" in _problem(config, shapes)
    del shapes["decoder.transformer.h.0.crossattention.c_proj.weight"]
    said = _problem({**config, "decoder": GPT2_READER}, shapes)
    assert "missing: decoder.transformer.h.0.crossattention.c_proj.weight" in said


def test_why_a_decoder_has_no_table_is_said_where_another_model_holds_it() -> None:
    config, shapes = _seeing({"model_type": "trocr"})
    assert "model type 'vision-encoder-decoder'" in _problem(config, shapes)
    assert "it normalises the stream itself after each sublayer" in _problem(config, shapes)
