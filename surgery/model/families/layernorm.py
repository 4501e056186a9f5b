"""Families with LayerNorms and biases, some with a LayerNorm behind the embedding as well.

    h ← LN(tok[token] + pos[position] + type)
    h ← h + W_o·attention(LN h) + b_o;   h ← h + W_m·mlp(LN h) + b_m

LN(x) = g∘(x − mean x)/std x + b, so what starts the stream is projected with g∘r, centred, and b, which the
norm itself adds, with r. The decoders of encoder-decoder models stand here as the causal language models that
transformers makes of them: there cross-attention is one more writer. Where a checkpoint also holds the
encoder, that has a stream of its own and is left alone, but for an embedding that both start from.
"""

from __future__ import annotations

from dataclasses import replace

from surgery.model.families.parts import EMBEDDING, llama_like, with_bias
from surgery.model.families.table import Family, Gain, Need, Sites, WriterRow

POST_LN = "it normalises the stream itself after each sublayer, which mixes a removed direction back in"


def starts(norm: str, *embeddings: str) -> tuple[WriterRow, ...]:
    """Embeddings that are added up and pass a LayerNorm, whose bias then starts the stream too."""
    gain = Gain(f"{norm}.weight", 0.0, centred=True)
    rows = (WriterRow(name, "embedding", 1, gain=gain) for name in embeddings)
    return (*rows, WriterRow(f"{norm}.bias", "embedding", 0, bias=True))


_BERT_EMBEDDINGS = tuple(
    f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")
)
_BERT_BLOCK = (
    *with_bias(WriterRow("encoder.layer.{layer}.attention.output.dense.weight", "attention_out", 0)),
    *with_bias(WriterRow("encoder.layer.{layer}.output.dense.weight", "mlp_out", 0)),
)
_BERT_READERS = (
    "encoder.layer.{layer}.attention.self.{query|key|value}.{weight|bias}",
    "encoder.layer.{layer}.intermediate.dense.{weight|bias}",
    "embeddings.position_ids",
)

ROBERTA_PRELAYERNORM = Family(
    model_types=("roberta-prelayernorm",),
    writers=(*starts("embeddings.LayerNorm", *_BERT_EMBEDDINGS), *_BERT_BLOCK),
    readers=(
        *_BERT_READERS,
        "{embeddings.LayerNorm.weight|LayerNorm.weight|LayerNorm.bias}",
        "encoder.layer.{layer}.{attention|intermediate}.LayerNorm.{weight|bias}",
    ),
    prefixes=("roberta_prelayernorm.",),
    unembedding=("lm_head.decoder.weight",),
    outside_readers=("lm_head.{dense|layer_norm}.{weight|bias}", "lm_head.{bias|decoder.bias}"),
    tied_by_default=True,
    needs=(Need("add_cross_attention", False, "its cross-attention also writes and is not in the table"),),
    sites=Sites("attention.output.dense", "output.dense", "roberta_prelayernorm.encoder.layer"),
)

XLM_ROBERTA_XL = replace(
    ROBERTA_PRELAYERNORM,
    model_types=("xlm-roberta-xl",),
    writers=(*(WriterRow(name, "embedding", 1) for name in _BERT_EMBEDDINGS), *_BERT_BLOCK),
    readers=(
        *_BERT_READERS,
        "encoder.LayerNorm.{weight|bias}",
        "encoder.layer.{layer}.{LayerNorm|attention.self_attn_layer_norm}.{weight|bias}",
    ),
    prefixes=("roberta.",),
    sites=Sites("attention.output.dense", "output.dense", "roberta.encoder.layer"),
)

SELF_ATTENTION = WriterRow("layers.{layer}.self_attn.out_proj.weight", "attention_out", 0)
FROM_ENCODER = WriterRow("layers.{layer}.encoder_attn.out_proj.weight", "attention_out", 0)
FC2 = WriterRow("layers.{layer}.fc2.weight", "mlp_out", 0)
_PLACES = WriterRow("embed_positions.weight", "embedding", 1)
DECODER_BLOCK = (*with_bias(SELF_ATTENTION), *with_bias(FROM_ENCODER), *with_bias(FC2))
DECODER_READERS = (
    "{layer_norm|layernorm_embedding}.{weight|bias}",
    "layers.{layer}.{self_attn|encoder_attn|final}_layer_norm.{weight|bias}",
    "layers.{layer}.{self_attn|encoder_attn}.{q|k|v}_proj.{weight|bias}",
    "layers.{layer}.fc1.{weight|bias}",
)

BLENDERBOT = Family(
    model_types=("blenderbot", "pegasus", "whisper"),
    writers=(EMBEDDING, _PLACES, *DECODER_BLOCK),
    readers=DECODER_READERS,
    prefixes=("model.decoder.",),
    unembedding=(
        "lm_head.weight",
        "proj_out.weight",
        "model.shared.weight",
        "model.encoder.embed_tokens.weight",
    ),
    outside_readers=("final_logits_bias",),
    foreign=("model.encoder.",),
    tied_by_default=True,
    width="d_model",
    depth="decoder_layers",
    sites=Sites("self_attn+encoder_attn", "fc2", "model.decoder.layers"),
    pads=False,
)

MBART = replace(
    BLENDERBOT,
    model_types=("mbart",),
    writers=(*starts("layernorm_embedding", EMBEDDING.pattern, _PLACES.pattern), *DECODER_BLOCK),
    readers=("{layernorm_embedding.weight|layer_norm.weight|layer_norm.bias}", *DECODER_READERS[1:]),
)

_LAST_BIAS = WriterRow(
    "layers.{layer}.attention.dense_bias", "attention_out", 0, bias=True, optional=True
)  # of the last layer only

FAMILIES = (
    Family(
        model_types=("bloom",),
        writers=(
            *starts("word_embeddings_layernorm", "word_embeddings.weight"),
            *with_bias(WriterRow("h.{layer}.self_attention.dense.weight", "attention_out", 0)),
            *with_bias(WriterRow("h.{layer}.mlp.dense_4h_to_h.weight", "mlp_out", 0)),
        ),
        readers=(
            "{word_embeddings_layernorm.weight|ln_f.weight|ln_f.bias}",
            "h.{layer}.{input|post_attention}_layernorm.{weight|bias}",
            "h.{layer}.self_attention.query_key_value.{weight|bias}",
            "h.{layer}.mlp.dense_h_to_4h.{weight|bias}",
        ),
        prefixes=("transformer.", ""),
        tied_by_default=True,
        depth="n_layer",
        sites=Sites("self_attention.dense", "mlp.dense_4h_to_h", "transformer.h"),
    ),
    Family(
        model_types=("modernbert-decoder",),
        writers=(
            *(
                replace(row, needs="norm_bias") if row.bias else row
                for row in starts("embeddings.norm", "embeddings.tok_embeddings.weight")
            ),
            *with_bias(WriterRow("layers.{layer}.attn.Wo.weight", "attention_out", 0), "attention_bias"),
            *with_bias(WriterRow("layers.{layer}.mlp.Wo.weight", "mlp_out", 0), "mlp_bias"),
        ),
        readers=(
            "embeddings.norm.weight",
            "final_norm.{weight|bias}",
            "layers.{layer}.{attn|mlp}_norm.{weight|bias}",
            "layers.{layer}.attn.{q|k|v}_proj.{weight|bias}",
            "layers.{layer}.mlp.Wi.{weight|bias}",
        ),
        unembedding=("decoder.weight",),
        outside_readers=("decoder.bias", "lm_head.{dense|norm}.{weight|bias}"),
        tied_by_default=True,
        sites=Sites("attn", "mlp", "model.layers"),
    ),
    ROBERTA_PRELAYERNORM,
    XLM_ROBERTA_XL,
    replace(
        XLM_ROBERTA_XL,
        model_types=("megatron-bert",),
        readers=(
            *_BERT_READERS,
            "encoder.ln.{weight|bias}",
            "encoder.layer.{layer}.{ln|attention.ln}.{weight|bias}",
        ),
        prefixes=("bert.",),
        unembedding=("cls.predictions.decoder.weight",),
        outside_readers=(
            "cls.predictions.transform.{dense|LayerNorm}.{weight|bias}",
            "cls.predictions.{bias|decoder.bias}",
        ),
        sites=Sites("attention.output.dense", "output.dense", "bert.encoder.layer"),
    ),
    BLENDERBOT,
    MBART,
    replace(
        BLENDERBOT,
        model_types=("bigbird_pegasus",),
        writers=(
            EMBEDDING,
            _PLACES,
            *with_bias(SELF_ATTENTION, "use_bias"),
            *with_bias(FROM_ENCODER, "use_bias"),
            *with_bias(FC2),
        ),
    ),
    Family(
        model_types=("gpt_neox_japanese",),
        writers=(
            WriterRow("embed_in.weight", "embedding", 1),
            WriterRow("layers.{layer}.attention.dense.weight", "attention_out", 0),
            _LAST_BIAS,
            WriterRow("layers.{layer}.mlp.dense_4h_to_h.weight", "mlp_out", 0),
        ),
        readers=(
            "layers.{layer}.{input|post_attention}_layernorm.{weight|bias}",
            "final_layer_norm.{weight|bias}",
            "layers.{layer}.attention.query_key_value.weight",
            "layers.{layer}.attention.{bias|masked_bias|rotary_emb.inv_freq}",
            "layers.{layer}.mlp.dense_h_to_4h.weight",
        ),
        prefixes=("gpt_neox_japanese.",),
        unembedding=("embed_out.weight", "lm_head.weight"),
        tied_by_default=True,
        sites=Sites("attention", "mlp", "gpt_neox_japanese.layers"),
    ),
    llama_like(
        "moshi",
        WriterRow("layers.{layer}.self_attn.o_proj.linear.weight", "attention_out", 0),
        WriterRow("layers.{layer}.mlp.fc2.weight", "mlp_out", 0),
        readers=("layers.{layer}.self_attn.{q|k|v}_proj.linear.weight", "layers.{layer}.mlp.fc1.weight"),
    ),
)
