"""Causal language models of transformers that are in no table, each with what stands in the way.

A model type that is in neither place is one that transformers got after this list was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_POST_LN = "it normalises the stream itself after each sublayer, which mixes a removed direction back in"
_LAYER_NORM = "a LayerNorm stands behind its embedding; only the gain of an RMSNorm is carried through so far"
_CONSTANT = (
    "constant sinusoidal positions are added to the stream; they are no parameter that could be edited"
)
_HALF = (
    "the decoder of a larger model: cross-attention or several embeddings write too, and have no table yet"
)
_TOWER = "a multimodal model: what writes the embeddings of its other inputs has no table yet"
_ELEMENTWISE = (
    "it scales the stream, or what is added to it, coordinate by coordinate; no edit of a writer is exact"
)
_CHAIN = "several norms stand one behind another behind some writers; one is carried through so far"
_STREAMS = "it keeps several streams and mixes them; it has no table and no hook points yet"
_EXPERT = "its identity experts write the normed stream itself back, coordinate by coordinate scaled"
_BLOCK_NORM = "each block starts by normalising the stream itself, which mixes a removed direction back in"
_TABLE = "no table has been written yet"
_SINGLE = "a block has one sublayer, for which there are no hook points yet"
_TWIN = "no tiny twin of it can be built yet"

_GROUPS: tuple[tuple[str, str], ...] = (
    (
        _POST_LN,
        "bart bert bert-generation big_bird blenderbot-small camembert data2vec-text electra ernie marian mvp"
        " openai-gpt plbart prophetnet rembert roberta roc_bert roformer trocr xlm xlm-roberta xlnet xmod",
    ),
    (_BLOCK_NORM, "minimax"),
    (_EXPERT, "longcat_flash"),
    (_LAYER_NORM, "bloom modernbert-decoder roberta-prelayernorm"),
    (_CONSTANT, "ctrl xglm"),
    (
        _HALF,
        "bigbird_pegasus blenderbot mbart moshi musicgen musicgen_melody pegasus whisper git",
    ),
    (
        _TOWER,
        "emu3 fuyu got_ocr2 llama4 mllama moss_transcribe_diarize phi4_multimodal qwen3_5 qwen3_5_moe"
        " dots3_note qwen4_exp",
    ),
    (_ELEMENTWISE, "doge gemma3n gemma3n_text inkling_text inkling2_text rwkv zaya"),
    (
        _CHAIN,
        "gemma4 gemma4_text gemma4_assistant gemma4_unified gemma4_unified_assistant gemma4_unified_text",
    ),
    (_STREAMS, "deepseek_v4 hrm_text hy_v4 reformer"),
    (_SINGLE, "falcon_mamba mamba mamba2 nemotron_h xlstm zamba zamba2"),
    (_TWIN, "blt cohere_compass_text dbrx dots3_note_text qwen4_exp_text laguna"),
    (
        _TABLE,
        "axk2 bailing_hybrid cpmant gpt_neox_japanese"
        " megatron-bert minimax_m3_vl_text olmo_hybrid xlm-roberta-xl",
    ),
)

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {model_type: reason for reason, names in _GROUPS for model_type in names.split()}
)
"""Model type → why it is in no table."""
