"""Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`.

    encoder.weight W (m, d)   encoder.bias b (m)   decoder.weight D (d, m)   decoder.bias c (d)   one θ
    with s = √d / dataset_average_activation_norm["in"], and t the same of "out":
    f = [n (W x + b/s) > θ] n (W x + b/s)          output = (s/t)(D/n) f + c/t

where n_j = (s/t) ‖D_j‖ if `sparsity_include_decoder_norm`, as in every published one, and 1 if not: that is
how the publishers' own loader rewrites the weights, and θ, which they measured after it, belongs to these f.

The variant distilled from R1 has `config.json`, `sae_weights.safetensors` with its norms in it under
`dataset_average_activation_norm.<hook point>`, and a `log_jumprelu_threshold` a feature, measured before
any of this: f = [ν (s W x + b) > θ] (s W x + b), output = (D f + c) / t, with ν_j = ‖D_j‖ or 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from surgery.dictionary.config import positive_number, read_config, table
from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, missing_fact
from surgery.dictionary.folding import scaled_input
from surgery.dictionary.weights import WeightsFile, open_weights
from surgery.errors import DictionaryError
from surgery.hook_point import from_transformer_lens
from surgery.linalg.units import nonzero

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
R1_CONFIG, R1_WEIGHTS, R1_MARK = "config.json", "sae_weights.safetensors", "log_jumprelu_threshold"
_MODEL, _R1_MODEL = "meta-llama/Llama-3.1-8B", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"
_TENSORS = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")


def read_llama_scope(folder: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read either variant.

    Raises:
        DictionaryError: a tensor or fact is missing, or what it does to activations is something else.
    """
    is_r1 = not (folder / CONFIG).is_file()
    config = read_config(folder / (R1_CONFIG if is_r1 else CONFIG), name)
    _check_supported(config, name)
    weights = open_weights(folder / (R1_WEIGHTS if is_r1 else WEIGHTS), name)
    weights.require(_TENSORS)
    found = _stored(weights, {"model_name": _R1_MODEL if is_r1 else _MODEL, **config}, facts)
    into = _scale(config, weights, found.d_in, "in", facts)
    out = _scale(config, weights, found.d_model, "out", facts) if found.is_transcoder else into
    norms = nonzero(found.row_norms) if config.get("sparsity_include_decoder_norm", True) else None
    if not is_r1:
        return _rewritten(found, norms, _jump(config, name), into, out)
    threshold = np.exp(weights.array(R1_MARK).astype(np.float64))
    return scaled_input(
        replace(found, threshold=threshold if norms is None else threshold / norms), into, out
    )


def _stored(weights: WeightsFile, config: Mapping[str, Any], facts: Facts) -> Dictionary:
    """The tensors as they are in the file, with a threshold of 0."""
    reads, writes = (str(config.get(key) or "") for key in ("hook_point_in", "hook_point_out"))
    is_transcoder = writes not in ("", reads)
    return checked(
        Dictionary(
            name=weights.name,
            architecture="jumprelu",
            W_enc=weights.array("encoder.weight"),
            b_enc=weights.array("encoder.bias"),
            W_dec=np.ascontiguousarray(weights.array("decoder.weight").T),
            b_dec=weights.array("decoder.bias"),
            hook_point=from_transformer_lens(reads),
            metadata=config,
            threshold=np.zeros(weights.shapes["encoder.bias"]),
            is_transcoder=is_transcoder,
            output_point=from_transformer_lens(writes) if is_transcoder else None,
            file=weights.path,
        )
    )


def _rewritten(
    found: Dictionary, norms: np.ndarray | None, jump: float, into: float, out: float
) -> Dictionary:
    """As the publishers' loader rewrites it; `norms` are the decoder rows' lengths, where they go."""
    ones = np.ones(found.n_features)
    lengths = ones if norms is None else norms * (into / out)
    return replace(
        found,
        gain=lengths,
        b_enc=lengths * found.b_enc / into,
        threshold=jump * ones,
        decoder_gain=into / out / lengths,
        b_dec=found.b_dec.astype(np.float64) / out,
    )


def _check_supported(config: Mapping[str, Any], name: str) -> None:
    unread = {"use_glu_encoder": False, "apply_decoder_bias_to_pre_encoder": False}
    for key, read in unread.items():
        if config.get(key, read) is not read:
            raise DictionaryError(f"{name}: {key} is {config[key]!r}, and only {read!r} is read")
    norm = config.get("norm_activation", "dataset-wise")
    if norm not in ("dataset-wise", "inference"):
        raise DictionaryError(
            f"{name}: norm_activation is {norm!r}; read are 'dataset-wise' and 'inference' (folded in)"
        )


def _jump(config: Mapping[str, Any], name: str) -> float:
    jump = config.get("jump_relu_threshold")
    if config.get("act_fn", "jumprelu") != "jumprelu" or not isinstance(jump, (int, float)):
        raise DictionaryError(
            f"{name}: {CONFIG} must say act_fn 'jumprelu' and a jump_relu_threshold; it says"
            f" {config.get('act_fn')!r} and {jump!r}"
        )
    return float(jump)


def _scale(config: Mapping[str, Any], weights: WeightsFile, d: int, side: str, facts: Facts) -> float:
    if facts.input_norm == 0 or config.get("norm_activation") == "inference":
        return 1.0
    norm = positive_number(table(config.get("dataset_average_activation_norm")).get(side))
    tensor = f"dataset_average_activation_norm.{config.get(f'hook_point_{side}')}"
    if norm is None and tensor in weights:
        norm = positive_number(float(weights.array(tensor).reshape(-1)[0]))
    if side == "in" and facts.input_norm is not None:
        norm = facts.input_norm
    if norm is None and side == "out":
        raise DictionaryError(
            f"{weights.name}: a transcoder whose files do not say under dataset_average_activation_norm.out"
            " how long the activations are that it writes; add it there"
        )
    if norm is None:
        raise missing_fact(
            weights.name,
            "its activations were scaled to mean length √d, and dataset_average_activation_norm does not say"
            " their mean length before that",
            "input_norm",
            "31.2",
        )
    return float(d**0.5 / norm)
