"""Families in which no edit of the writers is exact: something between writer and reader is neither a scalar
nor a norm behind a writer. Every writer is edited nevertheless; the twin measures what is left.

    doge, zaya       h ← s∘h + W·x                 each coordinate of the stream is scaled by its own number
    rwkv             h ← h + σ(R·x)∘(W·k)          each coordinate of what is written has its own gate
    minimax          n ← g∘h/rms;  h ← αn + βW·x   each block starts from the normed stream
    longcat_flash    h ← h + … + p·(g∘h/rms)       identity experts write the normed stream back
    gemma3n          h ← (h + … + g∘h/rms)/√2      LAuReL writes the normed stream back
    xglm, ctrl       h ← E[token] + constants      sinusoidal positions are no parameter
    bart             h ← LN(h + W·x)               the norm stands on the stream itself (post-LN)
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.gemma4 import GEMMA4_READERS
from surgery.model.families.layernorm import (
    BLENDERBOT,
    DECODER_READERS,
    FC2,
    FROM_ENCODER,
    POST_LN,
    SELF_ATTENTION,
    starts,
)
from surgery.model.families.parts import (
    ATTENTION,
    BIASED,
    BIASED_ATTENTION,
    EMBEDDING,
    FUSED,
    LATENT,
    MLP,
    MLP_BIAS,
    POST_NORM_SITES,
    READERS,
    behind,
    bias_of,
    llama_like,
    with_bias,
)
from surgery.model.families.table import Family, Gain, Sites, WriterRow

SCALED = (
    "it scales the stream coordinate by coordinate in every block, which mixes a removed direction back in"
)
GATED = "what its blocks write is gated coordinate by coordinate, which mixes a removed direction back in"
BLOCK_NORM = "each block starts by normalising the stream itself, which mixes a removed direction back in"
IDENTITY = "its identity experts write the normed stream itself back, coordinate by coordinate scaled"
LAUREL = "its LAuReL branches write the normed stream itself back, coordinate by coordinate scaled"
CONSTANT = "constant sinusoidal positions are added to the stream; they are no parameter that could be edited"


def _scaled(start: str, row: WriterRow) -> tuple[WriterRow, ...]:
    """A matrix behind ZAYA's (x + bias)∘scale, with that bias, and in a block the one beside it, by which
    the stream itself is moved before it is scaled.
    """
    names = ("hidden_states",) if row is EMBEDDING else ("hidden_states", "residual")
    gains = [Gain(f"{start}{name}_scale", 0.0) for name in names]
    biases = [
        WriterRow(f"{start}{name}_bias", row.role, 0, gain, bias=True)
        for name, gain in zip(names, gains, strict=True)
    ]
    return replace(row, gain=gains[0]), *biases


def _after(row: WriterRow, norm: str) -> tuple[WriterRow, ...]:
    """A matrix, its bias, and the bias of the LayerNorm on the stream behind them."""
    gain = Gain(f"layers.{{layer}}.{norm}.weight", 0.0, centred=True)
    last = WriterRow(f"layers.{{layer}}.{norm}.bias", row.role, 0, bias=True)
    matrix = replace(row, gain=gain)
    return matrix, bias_of(matrix), last


FAMILIES = (
    llama_like(
        "doge",
        *BIASED,
        MLP_BIAS,
        WriterRow("layers.{layer}.mlp.up_embed.weight", "mlp_out", 1, needs="is_moe"),  # a row an expert
        readers=(
            "layers.{layer}.{input|post_attention}_residual",
            "layers.{layer}.self_attn.{A|dt_proj.weight|dt_proj.bias}",
            "layers.{layer}.mlp.{router_gate|down_embed}.weight",
        ),
        approximate=SCALED,
    ),
    Family(
        ("zaya",),
        (
            *_scaled("input_", EMBEDDING),
            *_scaled("layers.{layer}.post_attention_residual_scale.", ATTENTION),
            *_scaled("layers.{layer}.post_mlp_residual_scale.", replace(FUSED, kind=None)),
        ),
        (
            *READERS,
            "input_hidden_states_scale",
            "layers.{layer}.post_{attention|mlp}_residual_scale.{hidden_states|residual}_scale",
            "layers.{layer}.mlp.experts.gate_up_proj",
            "layers.{layer}.mlp.gate.{balancing_biases|router_states_scale|router_mlp.norm.weight}",
            "layers.{layer}.mlp.gate.{down_proj|router_mlp.fc1|router_mlp.fc2|router_mlp.out_proj}.{weight|bias}",
            "layers.{layer}.self_attn.qk_norm.temp",
            "layers.{layer}.self_attn.qkv_proj.{conv_qk_depthwise|conv_qk_grouped}.{weight|bias}",
            "layers.{layer}.self_attn.qkv_proj.{q_proj|k_proj|v_proj_current|v_proj_delayed}.{weight|bias}",
        ),
        tied_by_default=True,
        approximate=SCALED,
    ),
    Family(
        model_types=("rwkv",),
        writers=(
            WriterRow(
                "embeddings.weight", "embedding", 1, gain=Gain("blocks.0.pre_ln.weight", 0.0, centred=True)
            ),
            WriterRow("blocks.0.pre_ln.bias", "embedding", 0, bias=True),
            WriterRow("blocks.{layer}.attention.output.weight", "attention_out", 0),
            WriterRow("blocks.{layer}.feed_forward.value.weight", "mlp_out", 0),
        ),
        readers=(
            "ln_out.{weight|bias}",
            "blocks.0.pre_ln.weight",
            "blocks.{layer}.{ln1|ln2}.{weight|bias}",
            "blocks.{layer}.attention.{key|receptance|value}.weight",
            "blocks.{layer}.attention.{time_decay|time_first|time_mix_key|time_mix_receptance|time_mix_value}",
            "blocks.{layer}.feed_forward.{key|receptance}.weight",
            "blocks.{layer}.feed_forward.{time_mix_key|time_mix_receptance}",
        ),
        prefixes=("rwkv.",),
        unembedding=("head.weight",),
        approximate=GATED,
        sites=Sites("attention", "feed_forward", "rwkv.blocks"),
        pads=False,
    ),
    Family(
        ("gemma3n_text",),
        (
            EMBEDDING,
            WriterRow("altup_projections.{index}.weight", "embedding", 0, optional=True),
            *(behind(row, "post_attention_layernorm") for row in BIASED_ATTENTION),
            behind(
                WriterRow("layers.{layer}.laurel.linear_right.weight", "mlp_out", 0),
                "laurel.post_laurel_norm",
            ),
            behind(MLP, "post_feedforward_layernorm"),
            behind(
                WriterRow("layers.{layer}.per_layer_projection.weight", "embedding", 0),
                "post_per_layer_input_norm",
            ),
        ),
        (
            *GEMMA4_READERS,
            "altup_unembed_projections.{index}.weight",
            "layers.{layer}.altup.{correct_output_scale|correction_coefs.weight|prediction_coefs.weight}",
            "layers.{layer}.altup.{modality_router|router_norm}.weight",
            "layers.{layer}.laurel.{linear_left|post_laurel_norm}.weight",
        ),
        tied_by_default=True,
        approximate=LAUREL,
        sites=POST_NORM_SITES,
    ),
    llama_like(
        "minimax",
        replace(ATTENTION, kind="mixer:attention"),
        WriterRow("layers.{layer}.self_attn.out_proj.weight", "attention_out", 0, kind="mixer:lightning"),
        WriterRow("layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight", "mlp_out", 0),
        readers=(
            "layers.{layer}.block_sparse_moe.gate.weight",
            "layers.{layer}.block_sparse_moe.experts.{expert}.{w1|w3}.weight",
            "layers.{layer}.self_attn.{diagonal_decay|key_decay|query_decay|slope_rate|norm.weight}",
            "layers.{layer}.self_attn.{output_gate|qkv_proj}.weight",
        ),
        approximate=BLOCK_NORM,
    ),
    llama_like(
        "longcat_flash",
        WriterRow("layers.{layer}.self_attn.{index}.o_proj.weight", "attention_out", 0, optional=True),
        WriterRow("layers.{layer}.mlps.{index}.down_proj.weight", "mlp_out", 0, optional=True),
        WriterRow("layers.{layer}.mlp.experts.{expert}.down_proj.weight", "mlp_out", 0),
        readers=(
            *(name.replace("self_attn.", "self_attn.{index}.") for name in LATENT if "self_attn" in name),
            "layers.{layer}.{input_layernorm|post_attention_layernorm}.{index}.weight",
            "layers.{layer}.mlp.router.{classifier.weight|classifier.bias|e_score_correction_bias}",
            "layers.{layer}.mlp.experts.{index}.{gate|up}_proj.weight",
            "layers.{layer}.mlps.{index}.{gate|up}_proj.weight",
        ),
        approximate=IDENTITY,
        sites=Sites("self_attn.0+self_attn.1", "mlps.0+mlps.1+mlp"),
        depth="num_layers|num_hidden_layers",
    ),
    Family(
        model_types=("xglm",),
        writers=(EMBEDDING, *with_bias(SELF_ATTENTION), *with_bias(FC2)),
        readers=DECODER_READERS,
        tied_by_default=True,
        width="d_model",
        depth="num_layers",
        approximate=CONSTANT,
        sites=Sites(mlp_out="fc2"),
    ),
    Family(
        model_types=("ctrl",),
        writers=(
            WriterRow("w.weight", "embedding", 1),
            *with_bias(WriterRow("h.{layer}.multi_head_attention.dense.weight", "attention_out", 0)),
            *with_bias(WriterRow("h.{layer}.ffn.2.weight", "mlp_out", 0)),
        ),
        readers=(
            "layernorm.{weight|bias}",
            "h.{layer}.{layernorm1|layernorm2}.{weight|bias}",
            "h.{layer}.multi_head_attention.{Wq|Wk|Wv}.{weight|bias}",
            "h.{layer}.ffn.0.{weight|bias}",
        ),
        prefixes=("transformer.",),
        tied_by_default=True,
        width="n_embd",
        depth="n_layer",
        approximate=CONSTANT,
        sites=Sites("multi_head_attention", "ffn", "transformer.h"),
    ),
    replace(
        BLENDERBOT,
        model_types=("bart", "plbart", "mvp", "blenderbot-small"),
        writers=(
            *starts("layernorm_embedding", "embed_tokens.weight", "embed_positions.weight"),
            *_after(SELF_ATTENTION, "self_attn_layer_norm"),
            *_after(FROM_ENCODER, "encoder_attn_layer_norm"),
            *_after(FC2, "final_layer_norm"),
        ),
        readers=(
            "layernorm_embedding.weight",
            "layers.{layer}.{self_attn|encoder_attn|final}_layer_norm.weight",
            *DECODER_READERS[2:],
        ),
        approximate=POST_LN,
    ),
)
