"""SAELens' folder: `cfg.json` and `sae_weights.safetensors`, of version 6 or the flat one before it.

    W_enc (d_in, m)   b_enc (m)   W_dec (m, d_out)   b_dec (d_out)
    gated: b_gate, b_mag, r_mag (m) in place of b_enc   jumprelu: threshold (m)   skip: W_skip (d_out, d_in)

`expected_average_only_in` is x √d / E‖x‖ before the encoder; E‖x‖ stands in no tensor, so it is taken from
`activation_scaler.json` or from the fact `input_norm`, and folded into the vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from surgery.dictionary.config import positive_number, read_config, table, whole_number
from surgery.dictionary.dictionary import Architecture, Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, from_module, missing_fact
from surgery.dictionary.folding import ranked_by_output, scaled_input
from surgery.dictionary.normalization import Normalization
from surgery.dictionary.weights import WeightsFile, open_weights
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint, from_transformer_lens

CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
_ARCHITECTURES: dict[str, Architecture] = {
    "standard": "standard",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
    "transcoder": "standard",
    "skip_transcoder": "standard",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
_NORMALIZATIONS: dict[str, Normalization] = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm",
    "expected_average_only_in": "none",
}
_CENTRED = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
_SAID_ELSEWHERE: dict[str, Mapping[str, Any]] = {
    "jbloom/GPT2-Small-SAEs-Reformatted": _CENTRED,
    "jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8": _CENTRED,
    "tommmcgrath/gpt2-small-mlp-out-saes": _CENTRED,
    "JoshEngels/Mistral-7B-Residual-Stream-SAEs": {"normalize_activations": "constant_norm_rescale"},
}
"""Repositories whose configuration SAELens' registry corrects, and what it says instead."""
_RENAMED = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}


@dataclass(frozen=True)
class _Settings:
    """What `cfg.json` says, in version 6's words."""

    saelens_architecture: str
    architecture: Architecture
    normalize: str
    k: int | None
    subtract_b_dec: bool
    rescale_by_decoder_norm: bool
    metadata: Mapping[str, Any]


def read_saelens(folder: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read a dictionary that SAELens or `surgery-train` saved.

    Raises:
        DictionaryError: a file or a fact is missing, or the architecture is not one that can be read exactly.
    """
    corrected = next((said for place, said in _SAID_ELSEWHERE.items() if place in name), {})
    settings = _settings({**read_config(folder / CONFIG, name), **corrected}, name, facts)
    weights = open_weights(folder / WEIGHTS, name)
    biases = ("b_gate", "b_mag", "r_mag") if settings.architecture == "gated" else ("b_enc",)
    weights.require(["W_enc", "W_dec", "b_dec", *biases])
    found = Dictionary(
        name=name,
        architecture=settings.architecture,
        W_enc=weights.array("W_enc").T,
        b_enc=weights.array("b_mag" if settings.architecture == "gated" else "b_enc"),
        W_dec=weights.array("W_dec"),
        b_dec=weights.array("b_dec"),
        k=settings.k,
        subtract_b_dec=settings.subtract_b_dec,
        hook_point=_place(settings.metadata, "hook_name"),
        metadata=settings.metadata,
        gain=_exponential(weights, "r_mag") if settings.architecture == "gated" else None,
        b_gate=weights.array("b_gate") if settings.architecture == "gated" else None,
        threshold=_threshold(weights, settings, name),
        decoder_gain=_finetuning_factor(weights, settings, name),
        W_skip=weights.array("W_skip") if "skip" in settings.saelens_architecture else None,
        normalization=_NORMALIZATIONS[settings.normalize],
        is_transcoder="transcoder" in settings.saelens_architecture,
        output_point=_place(settings.metadata, "hook_name_out"),
        file=folder / WEIGHTS,
    )
    found = checked(found)
    if settings.rescale_by_decoder_norm:
        found = ranked_by_output(found)
    if settings.normalize == "expected_average_only_in":
        found = scaled_input(found, _input_scale(folder, found.d_in, name, facts))
    return found


def _settings(config: Mapping[str, Any], name: str, facts: Facts) -> _Settings:
    if "metadata" not in config:
        config = _from_flat(config, name)
    architecture = str(config.get("architecture"))
    if architecture not in _ARCHITECTURES:
        said = f"says architecture {architecture!r}" if "architecture" in config else "says no architecture"
        raise DictionaryError(f"{name}: {CONFIG} {said}; known: {', '.join(_ARCHITECTURES)}")
    normalize = str(config.get("normalize_activations") or "none")
    if normalize not in _NORMALIZATIONS:
        raise DictionaryError(
            f"{name}: normalize_activations is {normalize!r}; fold it into the weights first (SAELens' own"
            f" methods do), or use one of {', '.join(_NORMALIZATIONS)}"
        )
    k = facts.k or whole_number(config.get("k"))
    if architecture == "topk" and k is None:
        raise missing_fact(name, f"a topk dictionary, but {CONFIG} does not say k", "k", "32")
    return _Settings(
        saelens_architecture=architecture,
        architecture=_ARCHITECTURES[architecture],
        normalize=normalize,
        k=k if architecture == "topk" else None,
        subtract_b_dec=bool(config.get("apply_b_dec_to_input", "transcoder" not in architecture)),
        rescale_by_decoder_norm=architecture == "topk" and bool(config.get("rescale_acts_by_decoder_norm")),
        metadata=table(config.get("metadata")),
    )


def _from_flat(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A configuration from before version 6, in version 6's words."""
    flat = {_RENAMED.get(key, key): value for key, value in config.items()}
    activation = flat.get("activation_fn") or "relu"
    if activation not in ("relu", "topk"):
        raise DictionaryError(f"{name}: activation function {activation!r} in {CONFIG}; known: relu, topk")
    if activation == "topk":
        flat |= {"architecture": "topk", "k": table(flat.get("activation_fn_kwargs")).get("k")}
    if isinstance(flat.get("normalize_activations"), bool):
        flat["normalize_activations"] = (
            "expected_average_only_in" if flat["normalize_activations"] else "none"
        )
    return {"architecture": "standard", **flat, "metadata": flat}


def _place(metadata: Mapping[str, Any], key: str) -> HookPoint | None:
    """From a transformers name where there is one: it is the publisher's, and SAELens' own a guess at it."""
    published = from_module(str(metadata.get(f"hf_{key}") or ""))
    return published or from_transformer_lens(str(metadata.get(key) or ""))


def _exponential(weights: WeightsFile, tensor: str) -> np.ndarray:
    values: np.ndarray = np.exp(weights.array(tensor).astype(np.float64))
    return values


def _threshold(weights: WeightsFile, settings: _Settings, name: str) -> np.ndarray | None:
    if settings.architecture != "jumprelu":
        return None
    if "threshold" in weights:
        return weights.array("threshold")
    if "log_threshold" in weights:
        return _exponential(weights, "log_threshold")
    if "topk_threshold" in weights:
        scalar = float(weights.array("topk_threshold").reshape(-1)[0])
        return np.full(weights.shapes["W_dec"][0], scalar)
    raise DictionaryError(
        f"{name}: a {settings.saelens_architecture} dictionary whose {WEIGHTS} lacks threshold; save its"
        " inference form"
    )


def _finetuning_factor(weights: WeightsFile, settings: _Settings, name: str) -> np.ndarray | None:
    if "scaling_factor" not in weights:
        return None
    factor = weights.array("scaling_factor")
    if np.all(factor == 1.0):
        return None
    if not settings.metadata.get("finetuning_scaling_factor"):
        raise DictionaryError(
            f"{name}: {WEIGHTS} holds a scaling_factor that is not 1, and {CONFIG} does not say what it is"
            " for; set finetuning_scaling_factor there if it scales the decoder's input"
        )
    return factor


def _input_scale(folder: Path, d_in: int, name: str, facts: Facts) -> float:
    if facts.input_norm is not None:
        return 1.0 if facts.input_norm == 0 else float(d_in**0.5 / facts.input_norm)
    if (folder / SCALER).is_file():
        scale = positive_number(read_config(folder / SCALER, name).get("scaling_factor"))
        if scale is not None:
            return scale
    raise missing_fact(
        name,
        "it was trained on activations scaled to mean length √d (normalize_activations is"
        " 'expected_average_only_in'), and no file says their mean length before that",
        "input_norm",
        "31.2",
    )
