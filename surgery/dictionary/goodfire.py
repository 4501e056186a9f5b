"""Goodfire's and qresearch's dictionaries: one pickle, two torch Linears, the layer in the file's name.

    encoder_linear.weight (m, d)    encoder_linear.bias (m)
    decoder_linear.weight (d, m)    decoder_linear.bias (d)
    f = relu(x W_encᵀ + b_enc)      output = f W_decᵀ + b_dec

`Llama-3.1-8B-Instruct-SAE-l19.pth` reads the output of block 19. qresearch's file for DeepSeek-R1-Distill
names its tensors `encoder.` and `decoder.`.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts
from surgery.dictionary.weights import open_weights
from surgery.hook_point import HookPoint

FILE = re.compile(r"(?:(.+)-)?SAE-l(\d+)\.pth?")
_PUBLISHERS = {"Llama": "meta-llama", "DeepSeek": "deepseek-ai"}


def read_goodfire(file: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read one file.

    Raises:
        DictionaryError: nobody allowed the pickle, or a tensor is missing.
    """
    weights = open_weights(file, name, trust_pickle=facts.trust_pickle)
    suffix = "" if "encoder.weight" in weights else "_linear"
    encoder, decoder = f"encoder{suffix}", f"decoder{suffix}"
    weights.require(f"{each}.{part}" for each in (encoder, decoder) for part in ("weight", "bias"))
    match = FILE.fullmatch(file.name)
    point = HookPoint(int(match[2]), "resid_post") if match else None
    return checked(
        Dictionary(
            name=name,
            architecture="standard",
            W_enc=weights.array(f"{encoder}.weight"),
            b_enc=weights.array(f"{encoder}.bias"),
            W_dec=np.ascontiguousarray(weights.array(f"{decoder}.weight").T),
            b_dec=weights.array(f"{decoder}.bias"),
            hook_point=point,
            metadata={"model_name": _model(match[1]) if match else None},
            file=file,
        )
    )


def _model(name: str | None) -> str | None:
    publisher = None if name is None else _PUBLISHERS.get(name.partition("-")[0])
    return name if publisher is None else f"{publisher}/{name}"
