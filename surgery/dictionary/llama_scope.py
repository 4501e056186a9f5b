"""Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`.

    encoder.weight (m, d)   encoder.bias (m)   decoder.weight (d, m)   decoder.bias (d)   one threshold θ
    with s = √d / dataset_average_activation_norm["in"], and t the same of "out", which a transcoder has:
    f = [s x W_encᵀ + b > s θ] (s x W_encᵀ + b)        output = (f W_decᵀ + b_dec) / t

The variant distilled from R1 has `config.json`, `sae_weights.safetensors` and a `log_jumprelu_threshold` a
feature, which is not multiplied by s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surgery.dictionary.config import positive_number, read_config
from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, missing_fact
from surgery.dictionary.saelens import scaled_input
from surgery.dictionary.weights import open_weights
from surgery.errors import DictionaryError
from surgery.hook_point import from_transformer_lens

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
R1_CONFIG, R1_WEIGHTS, R1_MARK = "config.json", "sae_weights.safetensors", "log_jumprelu_threshold"
_TENSORS = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")


def read_llama_scope(folder: Path, *, name: str | None = None, facts: Facts = NO_FACTS) -> Dictionary:
    """Read either variant.

    Raises:
        DictionaryError: a tensor or fact is missing, or the activation function is another.
    """
    name = name or str(folder)
    is_r1 = not (folder / CONFIG).is_file()
    config = read_config(folder / (R1_CONFIG if is_r1 else CONFIG), name)
    weights = open_weights(folder / (R1_WEIGHTS if is_r1 else WEIGHTS), name)
    weights.require(_TENSORS)
    n_features, d_in = weights.shapes["encoder.weight"]
    scale = _scale(config, d_in, "in", name, facts)
    reads, writes = (str(config.get(key) or "") for key in ("hook_point_in", "hook_point_out"))
    is_transcoder = writes not in ("", reads)
    if is_r1:
        threshold = np.exp(weights.array(R1_MARK).astype(np.float64))
    else:
        threshold = np.full(n_features, scale * _jump(config, name))
    found = checked(
        Dictionary(
            name=name,
            architecture="jumprelu",
            W_enc=weights.array("encoder.weight"),
            b_enc=weights.array("encoder.bias"),
            W_dec=np.ascontiguousarray(weights.array("decoder.weight").T),
            b_dec=weights.array("decoder.bias"),
            k=None,
            subtract_b_dec=False,
            hook_point=facts.hook_point or from_transformer_lens(reads),
            metadata={"model_name": "meta-llama/Llama-3.1-8B", **config},
            threshold=threshold,
            is_transcoder=is_transcoder,
            output_point=from_transformer_lens(writes) if is_transcoder else None,
            format="llama_scope",
            file=weights.path,
        )
    )
    if not is_transcoder:
        return scaled_input(found, scale)
    return scaled_input(found, scale, _scale(config, found.d_model, "out", name, facts))


def _jump(config: Mapping[str, Any], name: str) -> float:
    jump = config.get("jump_relu_threshold")
    if config.get("act_fn", "jumprelu") != "jumprelu" or not isinstance(jump, (int, float)):
        raise DictionaryError(
            f"{name}: {CONFIG} must say act_fn 'jumprelu' and a jump_relu_threshold; it says"
            f" {config.get('act_fn')!r} and {jump!r}"
        )
    return float(jump)


def _scale(config: Mapping[str, Any], d: int, side: str, name: str, facts: Facts) -> float:
    if facts.input_norm == 0:
        return 1.0
    norms = config.get("dataset_average_activation_norm")
    norm = positive_number(norms.get(side)) if isinstance(norms, dict) else None
    if side == "in" and facts.input_norm is not None:
        norm = facts.input_norm
    if norm is None and side == "out":
        raise DictionaryError(
            f"{name}: a transcoder whose {CONFIG} does not say under dataset_average_activation_norm.out how"
            " long the activations are that it writes; add it there"
        )
    if norm is None:
        raise missing_fact(
            name,
            "its activations were scaled to mean length √d, and dataset_average_activation_norm does not say"
            " their mean length before that",
            "input_norm",
            "31.2",
        )
    return float(d**0.5 / norm)
