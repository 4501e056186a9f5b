"""dictionary_learning: `ae.pt`, a pickle, and `config.json` with the class under trainer.dict_class.

    AutoEncoder              relu((x − b) Wᵀ + b_enc), the same b added back
    AutoEncoderNew           relu(x Wᵀ + b_enc), decoder.bias added
    GatedAutoEncoder         z = (x − b) Wᵀ;  [z + gate_bias > 0] relu(e^r_mag z + mag_bias)
    AutoEncoderTopK          the k largest of relu((x − b_dec) Wᵀ + b_enc)
    BatchTopKSAE             f = relu((x − b_dec) Wᵀ + b_enc) where above one threshold
    MatryoshkaBatchTopKSAE   the same, with W_enc (d, m) and W_dec (m, d)
    JumpReluAutoEncoder      relu(p) where p = x W_enc + b_enc is above the feature's threshold

The weights act on raw activations: the norm that training divided by was folded into the biases at the save.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from surgery.dictionary.config import read_config, table, whole_number
from surgery.dictionary.dictionary import Architecture, Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, from_module, missing_fact
from surgery.dictionary.weights import WeightsFile, open_weights, several_places
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint

CONFIG, WEIGHTS = "config.json", "ae.pt"
_LINEAR = {"W_enc": "encoder.weight", "W_dec": "decoder.weight"}
_PLAIN = {"W_enc": "W_enc", "W_dec": "W_dec", "b_enc": "b_enc", "b_dec": "b_dec"}
_CLASSES: dict[str, tuple[Architecture, Mapping[str, str]]] = {
    "AutoEncoder": ("standard", {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "bias"}),
    "AutoEncoderNew": ("standard", {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "decoder.bias"}),
    "GatedAutoEncoder": ("gated", {**_LINEAR, "b_enc": "mag_bias", "b_dec": "decoder_bias"}),
    "AutoEncoderTopK": ("topk", {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "b_dec"}),
    "BatchTopKSAE": ("jumprelu", {**_LINEAR, "b_enc": "encoder.bias", "b_dec": "b_dec"}),
    "MatryoshkaBatchTopKSAE": ("jumprelu", _PLAIN),
    "JumpReluAutoEncoder": ("jumprelu", _PLAIN),
}
"""dict_class → architecture, and the file's names of the four tensors."""
_WITHOUT_INPUT_BIAS = ("AutoEncoderNew", "JumpReluAutoEncoder")


def read_dictionary_learning(folder: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read one trained dictionary.

    Raises:
        DictionaryError: nobody allowed the pickle, the class is another, or a tensor or fact is missing.
    """
    config = read_config(folder / CONFIG, name)
    trainer = table(config.get("trainer"))
    kind = str(trainer.get("dict_class"))
    if "crosscoder" in kind.lower():
        raise several_places(name, f"its class is {kind}")
    if kind not in _CLASSES:
        raise DictionaryError(
            f"{name}: trainer.dict_class is {trainer.get('dict_class')!r} in {CONFIG}; known:"
            f" {', '.join(_CLASSES)}"
        )
    architecture, tensors = _CLASSES[kind]
    weights = open_weights(folder / WEIGHTS, name, trust_pickle=facts.trust_pickle)
    weights.require(tensors.values())
    W_enc, W_dec = weights.array(tensors["W_enc"]), weights.array(tensors["W_dec"])
    is_linear = tensors["W_enc"] == "encoder.weight"
    return checked(
        Dictionary(
            name=name,
            architecture=architecture,
            W_enc=W_enc if is_linear else W_enc.T,
            b_enc=weights.array(tensors["b_enc"]),
            W_dec=np.ascontiguousarray(W_dec.T) if is_linear else W_dec,
            b_dec=weights.array(tensors["b_dec"]),
            k=_k(weights, trainer, name, facts) if architecture == "topk" else None,
            subtract_b_dec=kind not in _WITHOUT_INPUT_BIAS,
            hook_point=_place(trainer, table(config.get("buffer"))),
            metadata={"model_name": trainer.get("lm_name"), **config},
            gain=np.exp(weights.array("r_mag").astype(np.float64)) if kind == "GatedAutoEncoder" else None,
            b_gate=weights.array("gate_bias") if kind == "GatedAutoEncoder" else None,
            threshold=_threshold(weights, name) if architecture == "jumprelu" else None,
            file=folder / WEIGHTS,
        )
    )


def _k(weights: WeightsFile, trainer: Mapping[str, Any], name: str, facts: Facts) -> int:
    stored = int(weights.array("k").reshape(-1)[0]) if "k" in weights else None
    k = facts.k or stored or whole_number(trainer.get("k"))
    if k is None:
        raise missing_fact(name, f"neither {WEIGHTS} nor {CONFIG} says k", "k", "32")
    return k


def _threshold(weights: WeightsFile, name: str) -> np.ndarray:
    threshold = weights.array("threshold")
    if threshold.size == 1:
        n_features = len(weights.array("encoder.bias" if "encoder.bias" in weights else "b_enc"))
        threshold = np.full(n_features, float(threshold.reshape(-1)[0]), dtype=np.float32)
    if (threshold < 0).any():
        raise DictionaryError(
            f"{name}: its threshold is below 0, which means that training never set it; the batch-wise top-k"
            " that it was trained with is not a function of one token"
        )
    return threshold


def _place(trainer: Mapping[str, Any], buffer: Mapping[str, Any]) -> HookPoint | None:
    """From submodule_name (`resid_post_layer_3`, or a module's path), else the layer; what it puts out."""
    submodule, layer = str(trainer.get("submodule_name") or ""), trainer.get("layer")
    if buffer.get("io", "out") != "out":
        return None
    found = from_module(submodule)
    if found is not None or not isinstance(layer, int) or isinstance(layer, bool) or layer < 0:
        return found
    if submodule.startswith("mlp"):
        return HookPoint(layer, "mlp_out")
    if submodule.startswith("att"):
        return HookPoint(layer, "attn_out")
    return HookPoint(layer, "resid_post") if not submodule or submodule.startswith("resid_post") else None
