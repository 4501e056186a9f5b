"""circuit-tracer's transcoders: `layer_12.safetensors` beside one `config.yaml` for all layers.

    W_enc (m, d)   b_enc (m)   W_dec (m, d)   b_dec (d)   [W_skip (d, d)]
    f = relu(x W_encᵀ + b_enc), above [activation_function.threshold (m)]
    output = f W_dec + b_dec [+ x W_skipᵀ]

Some publishers stored W_dec the other way first; which way it stands is told by the length of b_enc. The
configuration names TransformerLens hooks without their block: `mlp.hook_in`, `hook_resid_mid`,
`ln2.hook_normalized`. `mlp.hook_out` is before the norm that Gemma 2 and 3 have behind the MLP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from surgery.dictionary.config import table
from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts
from surgery.dictionary.weights import WeightsFile, open_weights
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint, from_transformer_lens

FILE, CONFIG = re.compile(r"layer_(\d+)\.safetensors"), "config.yaml"
_THRESHOLD = "activation_function.threshold"


def read_circuit_tracer(file: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read one layer's file.

    Raises:
        DictionaryError: a tensor is missing, the configuration is no YAML, or it is a cross-layer transcoder.
    """
    weights = open_weights(file, name)
    weights.require(["W_enc", "b_enc", "W_dec", "b_dec"])
    config = _config(file.parent / CONFIG, name)
    return checked(
        Dictionary(
            name=name,
            architecture="jumprelu" if _THRESHOLD in weights else "standard",
            W_enc=weights.array("W_enc"),
            b_enc=weights.array("b_enc"),
            W_dec=_rows(weights),
            b_dec=weights.array("b_dec"),
            hook_point=_place(file, config, "feature_input_hook"),
            metadata={"hook_name": config.get("feature_input_hook"), **config},
            threshold=weights.array(_THRESHOLD).reshape(-1) if _THRESHOLD in weights else None,
            W_skip=weights.array("W_skip") if "W_skip" in weights else None,
            is_transcoder=True,
            output_point=_place(file, config, "feature_output_hook"),
            file=file,
        )
    )


def _config(path: Path, name: str) -> Mapping[str, Any]:
    """The configuration, or nothing where only a layer's file was downloaded."""
    if not path.is_file():
        return {}
    try:
        return table(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DictionaryError(f"{name}: {CONFIG} beside it cannot be read: {error}") from error


def _rows(weights: WeightsFile) -> np.ndarray:
    W_dec, n_features = weights.array("W_dec"), weights.shapes["b_enc"][0]
    turned = W_dec.shape[0] != n_features and W_dec.shape[-1] == n_features
    return np.ascontiguousarray(W_dec.T) if turned else W_dec


def _place(file: Path, config: Mapping[str, Any], key: str) -> HookPoint | None:
    layer, hook = FILE.fullmatch(file.name), str(config.get(key) or "")
    if hook == "mlp.hook_out" and "gemma" not in str(config.get("model_name")).lower():
        hook = "hook_mlp_out"
    return None if layer is None else from_transformer_lens(f"blocks.{layer[1]}.{hook}")
