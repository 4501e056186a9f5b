"""Models with an encoder and a decoder: the stream that is edited is the decoder's, which words come from.

    h ← embed[token];   h ← h + W_s·attention(norm h)
    h ← h + W_c·attention(norm h, e);   h ← h + W_m·mlp(norm h)

e, what the encoder says, has a stream of its own and enters by keys and values only, which read. Where both
streams start from one embedding (UDOP, T5Gemma 2), that tensor is edited, and with it what the encoder starts
from; nothing else of the encoder is. T5Gemma 2 joins both attentions in one and norms what it adds as Gemma 3
does; its embedding of <eoi> is a parameter of its own.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.layernorm import MBART
from surgery.model.families.parts import EMBEDDING, READERS, with_bias
from surgery.model.families.table import Family, Gain, Sites, WriterRow

_ATTENTIONS = "layer.{layer}.{self_attention|encoder_decoder_attention}."

_SHARED = "encoder.embed_tokens."
_LAYER = "decoder.layers.{layer}."

FAMILIES = (
    replace(MBART, model_types=("pp_formulanet",), text_config="text_config", tied_by_default=False),
    Family(
        model_types=("pix2struct",),
        writers=(
            EMBEDDING,
            WriterRow("layer.{layer}.self_attention.attention.output.weight", "attention_out", 0),
            WriterRow("layer.{layer}.encoder_decoder_attention.attention.output.weight", "attention_out", 0),
            WriterRow("layer.{layer}.mlp.DenseReluDense.wo.weight", "mlp_out", 0),
        ),
        readers=(
            "final_layer_norm.weight",
            _ATTENTIONS + "layer_norm.weight",
            _ATTENTIONS + "attention.{query|key|value|relative_attention_bias}.weight",
            "layer.{layer}.mlp.{layer_norm|DenseReluDense.wi_0|DenseReluDense.wi_1}.weight",
        ),
        prefixes=("decoder.",),
        unembedding=("decoder.lm_head.weight",),
        foreign=("encoder.",),
        text_config="text_config",
        depth="num_layers|num_hidden_layers",
        sites=Sites(
            "self_attention.attention+encoder_decoder_attention.attention",
            "mlp.DenseReluDense",
            "decoder.layer",
        ),
    ),
    Family(
        model_types=("udop",),
        writers=(
            WriterRow("shared.weight", "embedding", 1),
            WriterRow("decoder.block.{layer}.layer.0.SelfAttention.o.weight", "attention_out", 0),
            WriterRow("decoder.block.{layer}.layer.1.EncDecAttention.o.weight", "attention_out", 0),
            WriterRow("decoder.block.{layer}.layer.2.DenseReluDense.wo.weight", "mlp_out", 0),
        ),
        readers=(
            "decoder.final_layer_norm.weight",
            "decoder.block.{layer}.layer.{0|1|2}.layer_norm.weight",
            "decoder.block.{layer}.layer.0.SelfAttention.{q|k|v|relative_attention_bias}.weight",
            "decoder.block.{layer}.layer.1.EncDecAttention.{q|k|v}.weight",
            "decoder.block.{layer}.layer.2.DenseReluDense.{wi|wi_0|wi_1}.weight",
        ),
        prefixes=("",),
        unembedding=("lm_head.weight", "decoder.embed_tokens.weight", "encoder.embed_tokens.weight"),
        foreign=("encoder.", "patch_embed.", "decoder.embed_patches.", "decoder.relative_bias."),
        tied_by_default=True,
        width="d_model",
        depth="num_decoder_layers|num_layers",
        sites=Sites(
            "layer.0.SelfAttention+layer.1.EncDecAttention", "layer.2.DenseReluDense", "decoder.block"
        ),
    ),
    Family(
        model_types=("t5gemma2",),
        writers=(
            WriterRow(_SHARED + "weight", "embedding", 1),
            WriterRow(_SHARED + "eoi_embedding", "embedding", 0, bias=True),
            *with_bias(
                WriterRow(
                    _LAYER + "self_attn.o_proj.weight",
                    "attention_out",
                    0,
                    gain=Gain(_LAYER + "post_self_attn_layernorm.weight", 1.0),
                ),
                "attention_bias",
            ),
            WriterRow(
                _LAYER + "mlp.down_proj.weight",
                "mlp_out",
                0,
                gain=Gain(_LAYER + "post_feedforward_layernorm.weight", 1.0),
            ),
        ),
        readers=(
            *("decoder." + name for name in READERS),
            _LAYER + "{pre|post}_{self_attn|feedforward}_layernorm.weight",
        ),
        unembedding=("lm_head.out_proj.weight",),
        foreign=("model.encoder.",),
        text_config="decoder",
        tied_by_default=True,
        sites=Sites("post_self_attn_layernorm", "post_feedforward_layernorm"),
    ),
)
