"""Qwen Scope: one pickle a layer, `layer12.sae.pt`, with W_enc (m, d), W_dec (d, m), b_enc, b_dec.

    f = the k largest of x W_encᵀ + b_enc, where positive        output = f W_decᵀ + b_dec

k stands only in the repository's name, `Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50`. Layer N is the output of
block N (`resid_post`).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, missing_fact
from surgery.dictionary.weights import open_weights
from surgery.hook_point import HookPoint

FILE = re.compile(r"layer(\d+)\.sae\.pt")
_REPOSITORY = re.compile(r"SAE-Res-(.+)-W\d+K-L0_(\d+)")


def read_qwen_scope(file: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read one layer's file.

    Raises:
        DictionaryError: nobody allowed the pickle or said k, or a tensor is missing.
    """
    repository = _REPOSITORY.search(name) or _REPOSITORY.search(str(file))
    weights = open_weights(file, name, trust_pickle=facts.trust_pickle)
    weights.require(["W_enc", "W_dec", "b_enc", "b_dec"])
    k = facts.k or (int(repository[2]) if repository else None)
    if k is None:
        raise missing_fact(
            name, "its repository's name, which alone says k (…-L0_50), is not to be seen here", "k", "50"
        )
    layer = FILE.search(file.name)
    point = HookPoint(int(layer[1]), "resid_post") if layer else None
    return checked(
        Dictionary(
            name=name,
            architecture="topk",
            W_enc=weights.array("W_enc"),
            b_enc=weights.array("b_enc"),
            W_dec=np.ascontiguousarray(weights.array("W_dec").T),
            b_dec=weights.array("b_dec"),
            k=k,
            hook_point=point,
            metadata={"model_name": f"Qwen/{repository[1]}" if repository else None},
            file=file,
        )
    )
