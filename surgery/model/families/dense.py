"""Llama and the families that write as it does, with nothing but scalars between writer and stream.

    h ← a · embed_tokens[token];   h ← h + b · o_proj(attention(norm h));   h ← h + b · down_proj(mlp(norm h))

Linear weights are (out, in) on disk, so the residual axis of o_proj and down_proj is 0, also where o_proj is
square. a and b are one, √d_model (Gemma) or the config's multipliers (Granite, MiniCPM, Hyperclova); a scalar
changes nothing for a projection. Cohere, StableLM with use_parallel_residual and others feed both sublayers
from one norm: both still add to the same stream. Chameleon and Emu3 see by tokens: an image is looked up in
the embedding as text is. Idefics' cross-attention blocks stand between the others and write behind a gate of
one number. In olmo the norms have no weights at all; nanochat's also norm the embedding without a gain, which
scales each position's row. The families differ in which matrices have a bias.
"""

from __future__ import annotations

from surgery.model.families.parts import (
    ATTENTION,
    BIASED,
    BIASED_ATTENTION,
    LATENT_READERS,
    MLP,
    MLP_BIAS,
    PLAIN,
    bias_of,
    llama_like,
    with_bias,
)
from surgery.model.families.table import Need, Sites, WriterRow

_BOTH = (*BIASED, MLP_BIAS)

_GATED = "gated_cross_attn_layers.{index}."

FAMILIES = (
    *(
        llama_like(name, *_BOTH)
        for name in ["llama", "arcee", "granite", "internlm3", "iquestcoder", "nemotron"]
    ),
    *(llama_like(name, *PLAIN) for name in ["mistral", "qwen2", "phi3", "glm", "ministral", "ministral3"]),
    *(llama_like(name, *BIASED) for name in ("qwen3", "olmo", "hunyuan_v1_dense")),
    *(
        llama_like(name, *BIASED, tied_by_default=True)
        for name in ("gemma", "cohere", "cohere2", "cohere_compass_text")
    ),
    llama_like(
        "starcoder2",
        *with_bias(ATTENTION, "use_bias", assumed=True),
        *with_bias(WriterRow("layers.{layer}.mlp.c_proj.weight", "mlp_out", 0), "use_bias", assumed=True),
        readers=("layers.{layer}.mlp.c_fc.{weight|bias}",),
        tied_by_default=True,
    ),
    llama_like(
        "idefics",
        WriterRow("embed_tokens.additional_embedding.weight", "embedding", 1, needs="additional_vocab_size"),
        *PLAIN,
        WriterRow(_GATED + "cross_attn.o_proj.weight", "attention_out", 0, optional=True),
        WriterRow(_GATED + "mlp.down_proj.weight", "mlp_out", 0, optional=True),
        readers=(
            _GATED + "{alpha_cross_attn|alpha_dense|input_layernorm.weight|post_attention_layernorm.weight}",
            _GATED + "cross_attn.{q_proj|k_proj|v_proj|q_layer_norm|k_layer_norm}.weight",
            _GATED + "mlp.{gate|up}_proj.weight",
            "layers.{layer}.self_attn.{q|k}_layer_norm.weight",
        ),
        outside_readers=("lm_head.additional_fc.weight",),
        foreign=("model.vision_model.", "model.perceiver_resampler."),
        needs=(
            Need(
                "alpha_type",
                "float",
                "a gate of its own for each coordinate mixes a removed direction back in",
            ),
        ),
        sites=Sites("self_attn|cross_attn", "mlp", "model.gated_cross_attn_layers+model.layers"),
    ),
    llama_like(
        "apertus",
        *BIASED,
        readers=(
            "layers.{layer}.{attention|feedforward}_layernorm.weight",
            "layers.{layer}.mlp.act_fn.{alpha_n|alpha_p|beta|eps}",
        ),
    ),
    llama_like(
        "bitnet",
        *BIASED,
        readers=("layers.{layer}.self_attn.attn_sub_norm.weight", "layers.{layer}.mlp.ffn_sub_norm.weight"),
    ),
    llama_like(
        "chameleon",
        *_BOTH,
        needs=(
            Need(
                "swin_norm",
                False,
                "its norms then stand behind the sublayers, and no hook of this library is made for that",
            ),
        ),
        foreign=("model.vqmodel.",),
    ),
    llama_like("cwm", *PLAIN, MLP_BIAS),
    llama_like("diffllama", *BIASED, readers=("layers.{layer}.self_attn.lambda_{q1|q2|k1|k2}",)),
    llama_like(
        "ernie4_5", *PLAIN, bias_of(ATTENTION, "use_bias"), bias_of(MLP, "use_bias"), tied_by_default=True
    ),
    llama_like("granite_swa", *_BOTH, readers=("layers.{layer}.self_attn.sinks",), tied_by_default=True),
    llama_like("helium", *PLAIN, MLP_BIAS),
    llama_like(
        "jais2",
        *PLAIN,
        bias_of(ATTENTION, "attention_bias", assumed=True),
        bias_of(MLP, "mlp_bias", assumed=True),
    ),
    llama_like("minicpm3", *_BOTH, readers=LATENT_READERS, tied_by_default=True),
    llama_like(
        "nanochat",
        *BIASED_ATTENTION,
        WriterRow("layers.{layer}.mlp.fc2.weight", "mlp_out", 0),
        readers=("layers.{layer}.mlp.fc1.weight",),
    ),
    llama_like("seed_oss", *PLAIN, bias_of(ATTENTION, "attention_out_bias"), MLP_BIAS),
    llama_like("smollm3", *_BOTH, tied_by_default=True),
    llama_like(
        "stablelm", *PLAIN, readers=("layers.{layer}.self_attn.{q|k}_layernorm.norms.{index}.weight",)
    ),
    llama_like(
        "vaultgemma",
        *BIASED,
        readers=("layers.{layer}.pre_feedforward_layernorm.weight",),
        tied_by_default=True,
    ),
    llama_like("youtu", *BIASED, readers=LATENT_READERS, tied_by_default=True),
)
