"""Models of transformers that are in no table, each with what stands in the way and what to do instead: those
that it makes causal language models of, and those that see and write text.

Some cannot be exact by their nature: something multiplies the stream coordinate by coordinate, or writes what
is no parameter. The others lack a table or a twin. A model type that is neither here nor in a table is one
that transformers got after this list was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from surgery.model.families.approximate import CONSTANT, LAUREL, SCALED
from surgery.model.families.layernorm import POST_LN


@dataclass(frozen=True)
class Refusal:
    """Why a model type has no table, what a user can do instead, and whether an exact edit of its writers is
    impossible by its `nature` rather than not yet made.
    """

    reason: str
    instead: str
    nature: bool = False


_HOOK = "take the direction out while it runs, by a forward hook behind each block that subtracts r (rᵀh)"
_DRAFTS = (
    "it drafts tokens for another model from that model's keys and values and cannot run by itself, so no"
    " twin of it can"
)
_REVERSIBLE = (
    "its positions are put together from pieces that each hold a part of the coordinates, and no edit takes a"
    " part of a direction out of a part"
)
_BYTES = "three transformers with streams of their own widths stand one behind another; no table is made"
_NO_CONFIG = "transformers' Auto class cannot make a model of its config.json, so no twin of it can be built"
_PARENT = "edit the model that it was made from, and make it anew"
_TEXT = "save the text tower by itself under its own model type and edit that"

_GROUPS: tuple[tuple[Refusal, str], ...] = (
    (
        Refusal(POST_LN, _HOOK, nature=True),
        "bert bert-generation big_bird blip camembert data2vec-text electra ernie florence2 git marian"
        " openai-gpt prophetnet rembert roberta roc_bert roformer trocr xlm xlm-roberta xlnet",
    ),
    (Refusal(f"{POST_LN}, unless pre_norm is set, for which no table is made", _HOOK, nature=True), "xmod"),
    (Refusal(SCALED, _HOOK, nature=True), "muse_spark"),
    (Refusal(f"{LAUREL}, and its vision tower needs the timm library", _TEXT, nature=True), "gemma3n"),
    (Refusal(CONSTANT, _HOOK, nature=True), "kosmos-2 kosmos-2.5"),
    (
        Refusal(f"{CONSTANT}, and transformers makes no causal model of its config.json", _HOOK, nature=True),
        "musicgen musicgen_melody",
    ),
    (Refusal("it is a classifier and writes no text", _PARENT), "shieldgemma2"),
    (Refusal("it writes a robot's actions and no text", _PARENT), "pi0"),
    (Refusal(_DRAFTS, "edit the model it drafts for"), "gemma4_assistant gemma4_unified_assistant"),
    (Refusal(_REVERSIBLE, _HOOK), "reformer"),
    (Refusal(_BYTES, _HOOK), "blt"),
    (Refusal(_NO_CONFIG, _HOOK), "evolla"),
)

UNSUPPORTED: Mapping[str, Refusal] = MappingProxyType(
    {model_type: refusal for refusal, names in _GROUPS for model_type in names.split()}
)
"""Model type → why it is in no table."""
