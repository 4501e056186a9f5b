"""saex' folder, as `nev/phi-3-4k-saex-test`, `nev/gemma-2b-saex-test`, `nev/gemma2-2b-saex-test` hold it.

`cfg.json` says nothing of the architecture; the tensors do. With a = √d / mean_norm and c = tgt_mean_norm /
√d (1 where the file has no such norm, or it is 1):

    π = a x W_enc + b_enc
    f = relu(π) s                                               s: scaling_factor
    f = [π > 0] relu(a x W_enc softplus(s_gate) s + b_gate)     gated: s_gate or b_gate is not 0 somewhere
    output = c (f W_dec + b_dec)

What saex calls b_gate is the bias of the magnitudes, and its b_enc that of the gate.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts
from surgery.dictionary.weights import WeightsFile, open_weights
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint, Site

WEIGHTS = "sae_weights.safetensors"
MARK = "s_gate"
"""A tensor that no other format has."""
_FOLDER = re.compile(r"(?:^|[/-])l(\d+)-(?:(residual|attn_out|transcoder)-)?test-run-")


def read_saex(folder: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read a dictionary that saex saved.

    Raises:
        DictionaryError: a tensor is missing, or a scale that must be positive is not.
    """
    weights = open_weights(folder / WEIGHTS, name)
    weights.require(["W_enc", "b_enc", "scaling_factor", "W_dec", "b_dec"])
    scale = weights.array("scaling_factor").astype(np.float64)
    d_in, d_out = weights.shapes["W_enc"][0], weights.shapes["W_dec"][-1]
    into = _factor(weights, "mean_norm", d_in, facts)
    out = 1.0 / _factor(weights, "tgt_mean_norm", d_out, facts)
    b_enc = weights.array("b_enc").astype(np.float64)
    gated = _is_gated(weights)
    if not gated and not (scale > 0).all():
        raise DictionaryError(
            f"{name}: scaling_factor is not above 0 for {int((scale <= 0).sum())} of {len(scale)} features,"
            " which has no exact form without a gate"
        )
    match = _FOLDER.search(name) or _FOLDER.search(str(folder))
    point, is_transcoder = _place(match)
    return checked(
        Dictionary(
            name=name,
            architecture="gated" if gated else "standard",
            W_enc=weights.array("W_enc").T,
            b_enc=weights.array("b_gate") if gated else b_enc * scale,
            W_dec=weights.array("W_dec"),
            b_dec=weights.array("b_dec").astype(np.float64) * out,
            hook_point=point,
            metadata={"model_name": _model(name), "normalised": into != 1.0},
            gain=into * scale * (_softplus(weights.array("s_gate")) if gated else 1.0),
            b_gate=b_enc / into if gated else None,
            decoder_gain=None if out == 1.0 else np.full(len(scale), out),
            is_transcoder=is_transcoder,
            output_point=HookPoint(int(match[1]), "mlp_out") if match and is_transcoder else None,
            file=folder / WEIGHTS,
        )
    )


def _is_gated(weights: WeightsFile) -> bool:
    """A gate that was never used has kept its zeros, since no gradient reached it."""
    return any(tensor in weights and bool(np.any(weights.array(tensor) != 0)) for tensor in (MARK, "b_gate"))


def _factor(weights: WeightsFile, tensor: str, d: int, facts: Facts) -> float:
    if facts.input_norm == 0:
        return 1.0
    stored = float(weights.array(tensor).reshape(-1)[0]) if tensor in weights else 1.0
    if facts.input_norm is not None and (tensor == "mean_norm" or stored == 1.0):
        stored = facts.input_norm
    # 1 is what an unused norm was initialised to.
    return 1.0 if stored == 1.0 else d**0.5 / stored


def _place(match: re.Match[str] | None) -> tuple[HookPoint | None, bool]:
    if match is None:
        return None, False
    if match[2] == "transcoder":
        return HookPoint(int(match[1]), "mlp_in"), True
    site: Site = "attn_out" if match[2] == "attn_out" else "resid_pre"
    return HookPoint(int(match[1]), site), False


def _model(name: str) -> str | None:
    known = {"phi-3": "microsoft/Phi-3-mini-4k-instruct", "gemma2-2b": "google/gemma-2-2b-it"}
    if "gemma-2b-saex" in name:
        return "google/gemma-2b-it" if "/it-" in name else "google/gemma-2b"
    return next((model for mark, model in known.items() if mark in name), None)


def _softplus(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.logaddexp(0.0, values.astype(np.float64))
    return result
