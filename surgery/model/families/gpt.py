"""Families that descend from GPT-2, with names, biases and LayerNorms of their own.

    h ← wte[token] (+ wpe[position]);   h ← h + W_o·attention(norm h) + b_o;   h ← h + W_m·mlp(norm h) + b_m

GPT-2's matrices are Conv1D, [in, out] on disk, so their residual axis is 1 although attn.c_proj is square;
in GPT-BigCode, which kept the names, they are Linear. Learned positions start the stream and so are writers.
GPT-J, GPT-NeoX, Phi, Falcon and CodeGen run both sublayers side by side: both add to the same stream.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.layernorm import POST_LN
from surgery.model.families.parts import EMBEDDING, with_bias
from surgery.model.families.table import Family, Need, Sites, WriterRow

_BLOCK_NORMS = ("h.{layer}.ln_{1|2}.{weight|bias}", "ln_f.{weight|bias}")
_MASKS = ("h.{layer}.{attn|crossattention}.{bias|masked_bias}",)  # constants that old files stored
_WTE = WriterRow("wte.weight", "embedding", 1)
_WPE = WriterRow("wpe.weight", "embedding", 1)
_CROSS = WriterRow("h.{layer}.crossattention.c_proj.weight", "attention_out", 1, needs="add_cross_attention")

GPT2 = Family(
    model_types=("gpt2", "gpt-sw3"),
    writers=(
        _WTE,
        _WPE,
        *with_bias(WriterRow("h.{layer}.attn.c_proj.weight", "attention_out", 1)),
        *with_bias(_CROSS, _CROSS.needs),
        *with_bias(WriterRow("h.{layer}.mlp.c_proj.weight", "mlp_out", 1)),
    ),
    readers=(
        *_BLOCK_NORMS,
        "h.{layer}.ln_cross_attn.{weight|bias}",
        "h.{layer}.{attn|crossattention}.{c_attn|q_attn}.{weight|bias}",
        "h.{layer}.mlp.c_fc.{weight|bias}",
        *_MASKS,
    ),
    prefixes=("transformer.", ""),
    tied_by_default=True,
    width="n_embd",
    depth="n_layer",
    sites=Sites("attn+crossattention", "mlp", "transformer.h"),
)

OPT = Family(
    model_types=("opt",),
    writers=(
        EMBEDDING,
        WriterRow("embed_positions.weight", "embedding", 1),
        *with_bias(
            WriterRow("layers.{layer}.self_attn.out_proj.weight", "attention_out", 0),
            "enable_bias",
            assumed=True,
        ),
        *with_bias(WriterRow("layers.{layer}.fc2.weight", "mlp_out", 0), "enable_bias", assumed=True),
    ),
    readers=(
        "final_layer_norm.{weight|bias}",
        "layers.{layer}.{self_attn|final}_layer_norm.{weight|bias}",
        "layers.{layer}.self_attn.{q|k|v}_proj.{weight|bias}",
        "layers.{layer}.fc1.{weight|bias}",
    ),
    prefixes=("model.decoder.", "decoder."),
    tied_by_default=True,
    needs=(Need("do_layer_norm_before", True, POST_LN),),
    sites=Sites("self_attn", "fc2", "model.decoder.layers"),
)

FAMILIES = (
    GPT2,
    replace(
        GPT2,
        model_types=("gpt_bigcode",),
        writers=(_WTE, _WPE, *(replace(row, residual_axis=0) for row in GPT2.writers[2:] if not row.needs)),
        prefixes=("transformer.",),
        needs=(Need("add_cross_attention", False, "transformers fails to run its cross-attention"),),
    ),
    Family(
        model_types=("gptj", "codegen"),
        writers=(
            _WTE,
            WriterRow("h.{layer}.attn.out_proj.weight", "attention_out", 0),
            *with_bias(WriterRow("h.{layer}.mlp.fc_out.weight", "mlp_out", 0)),
        ),
        readers=(
            *_BLOCK_NORMS,
            "h.{layer}.attn.{q|k|v|qkv}_proj.weight",
            "h.{layer}.attn.causal_mask",
            "h.{layer}.mlp.fc_in.{weight|bias}",
            *_MASKS,
        ),
        prefixes=("transformer.",),
        width="n_embd",
        depth="n_layer",
        sites=Sites("attn", "mlp", "transformer.h"),
    ),
    Family(
        model_types=("gpt_neo",),
        writers=(
            _WTE,
            _WPE,
            *with_bias(WriterRow("h.{layer}.attn.attention.out_proj.weight", "attention_out", 0)),
            *with_bias(WriterRow("h.{layer}.mlp.c_proj.weight", "mlp_out", 0)),
        ),
        readers=(
            *_BLOCK_NORMS,
            "h.{layer}.attn.attention.{q|k|v}_proj.weight",
            "h.{layer}.attn.attention.{bias|masked_bias}",
            "h.{layer}.mlp.c_fc.{weight|bias}",
        ),
        prefixes=("transformer.",),
        tied_by_default=True,
        depth="num_layers",
        sites=Sites("attn", "mlp", "transformer.h"),
    ),
    Family(
        model_types=("gpt_neox",),
        writers=(
            WriterRow("embed_in.weight", "embedding", 1),
            *with_bias(
                WriterRow("layers.{layer}.attention.dense.weight", "attention_out", 0),
                "attention_bias",
                assumed=True,
            ),
            *with_bias(WriterRow("layers.{layer}.mlp.dense_4h_to_h.weight", "mlp_out", 0)),
        ),
        readers=(
            "layers.{layer}.{input|post_attention}_layernorm.{weight|bias}",
            "final_layer_norm.{weight|bias}",
            "layers.{layer}.attention.query_key_value.{weight|bias}",
            "layers.{layer}.attention.{bias|masked_bias|rotary_emb.inv_freq}",
            "layers.{layer}.mlp.dense_h_to_4h.{weight|bias}",
        ),
        prefixes=("gpt_neox.",),
        unembedding=("embed_out.weight", "lm_head.weight"),
        sites=Sites("attention", "mlp", "gpt_neox.layers"),
    ),
    OPT,
    Family(
        model_types=("biogpt",),
        writers=(
            EMBEDDING,
            WriterRow("embed_positions.weight", "embedding", 1),
            *with_bias(WriterRow("layers.{layer}.self_attn.out_proj.weight", "attention_out", 0)),
            *with_bias(WriterRow("layers.{layer}.fc2.weight", "mlp_out", 0)),
        ),
        readers=(*OPT.readers, "layer_norm.{weight|bias}"),
        prefixes=("biogpt.",),
        unembedding=("output_projection.weight",),
        tied_by_default=True,
        sites=Sites("self_attn", "fc2", "biogpt.layers"),
    ),
    Family(
        model_types=("phi",),
        writers=(
            EMBEDDING,
            *with_bias(WriterRow("layers.{layer}.self_attn.dense.weight", "attention_out", 0)),
            *with_bias(WriterRow("layers.{layer}.mlp.fc2.weight", "mlp_out", 0)),
        ),
        readers=(
            "final_layernorm.{weight|bias}",
            "layers.{layer}.input_layernorm.{weight|bias}",
            "layers.{layer}.self_attn.{q|k|v}_proj.{weight|bias}",
            "layers.{layer}.self_attn.{q|k}_layernorm.{weight|bias}",
            "layers.{layer}.mlp.fc1.{weight|bias}",
        ),
    ),
    Family(
        model_types=("persimmon",),
        writers=(
            EMBEDDING,
            *with_bias(WriterRow("layers.{layer}.self_attn.dense.weight", "attention_out", 0)),
            *with_bias(WriterRow("layers.{layer}.mlp.dense_4h_to_h.weight", "mlp_out", 0)),
        ),
        readers=(
            "final_layernorm.{weight|bias}",
            "layers.{layer}.{input|post_attention}_layernorm.{weight|bias}",
            "layers.{layer}.self_attn.query_key_value.{weight|bias}",
            "layers.{layer}.self_attn.{q|k}_layernorm.{weight|bias}",
            "layers.{layer}.mlp.dense_h_to_4h.{weight|bias}",
        ),
    ),
    Family(
        model_types=("falcon",),
        writers=(
            WriterRow("word_embeddings.weight", "embedding", 1),
            *with_bias(WriterRow("h.{layer}.self_attention.dense.weight", "attention_out", 0), "bias"),
            *with_bias(WriterRow("h.{layer}.mlp.dense_4h_to_h.weight", "mlp_out", 0), "bias"),
        ),
        readers=(
            "ln_f.{weight|bias}",
            "h.{layer}.{input_layernorm|post_attention_layernorm|ln_attn|ln_mlp}.{weight|bias}",
            "h.{layer}.self_attention.query_key_value.{weight|bias}",
            "h.{layer}.mlp.dense_h_to_4h.{weight|bias}",
        ),
        prefixes=("transformer.",),
        tied_by_default=True,
        sites=Sites("self_attention", "mlp", "transformer.h"),
    ),
    Family(
        model_types=("mpt",),
        writers=(
            _WTE,
            WriterRow("blocks.{layer}.attn.out_proj.weight", "attention_out", 0),
            WriterRow("blocks.{layer}.ffn.down_proj.weight", "mlp_out", 0),
        ),
        readers=(
            "norm_f.weight",
            "blocks.{layer}.norm_{1|2}.weight",
            "blocks.{layer}.attn.Wqkv.weight",
            "blocks.{layer}.ffn.up_proj.weight",
        ),
        prefixes=("transformer.",),
        tied_by_default=True,
        width="d_model",
        depth="n_layers",
        sites=Sites("attn", "ffn.down_proj", "transformer.blocks"),
    ),
)
