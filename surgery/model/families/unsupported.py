"""Models of transformers that are in no table, each with what stands in the way: those that it makes causal
language models of, and those that see and write text.

A model type that is neither here nor in a table is one that transformers got after this list was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from surgery.model.families.approximate import CONSTANT, CONVOLVED, POST_LN

_HALVES = (
    "an encoder and a decoder have a stream each, and a direction belongs to one of them; only decoders by"
    " themselves have tables"
)
_CLASSIFIER = "it is a classifier and writes no text"
_ALTUP = (
    "it keeps several streams and corrects them coordinate by coordinate (AltUp), so no edit of a writer is"
    " exact; its leak has not been measured"
)
_DRAFTS = (
    "it drafts tokens for another model from that model's keys and values and cannot run by itself; edit that"
    " model instead"
)
_REVERSIBLE = (
    "it keeps two streams, and its positions are put together from pieces that each hold a part of the"
    " coordinates"
)
_BYTES = "three transformers with streams of their own widths stand one behind another"
_STREAMS = "its streams lie side by side in one vector, to which embeddings of n-grams are added as well"
_LOOKS_BACK = (
    "it attends over its own earlier layers and convolves each coordinate by itself, so no edit of a writer"
    " is exact; its leak has not been measured"
)
_NO_CONFIG = "transformers cannot make a causal language model of its config.json"
_RENAMED = (
    "transformers saves its text tower under names that published checkpoints do not have, so its twin would"
    " prove nothing for them"
)
_TWIN = "no tiny twin of it can be built yet"
_TABLE = "no table has been written yet"

_GROUPS: tuple[tuple[str, str], ...] = (
    (
        POST_LN,
        "bert bert-generation big_bird blip camembert data2vec-text electra ernie git marian openai-gpt"
        " prophetnet rembert roberta roc_bert roformer trocr xlm xlm-roberta xlnet xmod",
    ),
    (CONSTANT, "kosmos-2 kosmos-2.5"),
    (_HALVES, "florence2 pix2struct pp_formulanet t5gemma2 udop vision-encoder-decoder"),
    (_CLASSIFIER, "shieldgemma2"),
    (_ALTUP, "gemma3n gemma3n_text"),
    (_LOOKS_BACK, "inkling2 inkling2_text"),
    (CONVOLVED, "inkling_mm_model"),
    (_DRAFTS, "gemma4_assistant gemma4_unified_assistant"),
    (_REVERSIBLE, "reformer"),
    (_BYTES, "blt"),
    (_STREAMS, "qwen4_exp qwen4_exp_text"),
    (_NO_CONFIG, "musicgen musicgen_melody"),
    (_RENAMED, "kimi_k25 qianfan_ocr"),
    (
        _TWIN,
        "cosmos3_edge deepseek_ocr2 diffusion_gemma dots3_note ernie4_5_vl_moe evolla fast_vlm"
        " glm5_next granite4_vision hunyuan_vl mistral_large4 molmo2 muse_glimmer muse_spark"
        " perception_lm",
    ),
    (_TABLE, "cosmos3_omni granite_docling idefics janus pi0 unlimited_ocr"),
)

UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {model_type: reason for reason, names in _GROUPS for model_type in names.split()}
)
"""Model type → why it is in no table."""
