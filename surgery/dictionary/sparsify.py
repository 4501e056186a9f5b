"""EleutherAI sparsify: `cfg.json` and `sae.safetensors`, in a folder named after a module.

    encoder.weight (m, d)   encoder.bias (m)   W_dec (m, d)   b_dec (d)   [W_skip (d, d)]
    f = the k largest of relu((x − b_dec) W_encᵀ + b), or the largest of each of k groups (groupmax)

A transcoder (`transcode`) subtracts nothing, and maps its module's input to its output. `layers.10` is the
output of block 10, `layers.10.mlp` that of its MLP. `num_latents` of 0 means expansion_factor · d.
"""

from __future__ import annotations

from pathlib import Path

from surgery.dictionary.config import read_config, whole_number
from surgery.dictionary.dictionary import Dictionary, checked
from surgery.dictionary.facts import NO_FACTS, Facts, from_module, into_module, missing_fact
from surgery.dictionary.weights import open_weights
from surgery.errors import DictionaryError

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"


def read_sparsify(folder: Path, name: str, facts: Facts = NO_FACTS) -> Dictionary:
    """Read one hook point's folder.

    Raises:
        DictionaryError: a tensor or k is missing, or the activation is another.
    """
    config = read_config(folder / CONFIG, name)
    activation = str(config.get("activation", "topk"))
    if activation not in ("topk", "groupmax"):
        raise DictionaryError(f"{name}: activation {activation!r} in {CONFIG}; known: topk, groupmax")
    if config.get("signed"):
        raise DictionaryError(f"{name}: signed codes (largest |·|, no relu) are not read")
    k = facts.k or whole_number(config.get("k"))
    if k is None:
        raise missing_fact(name, f"{CONFIG} does not say k", "k", "32")
    weights = open_weights(folder / WEIGHTS, name)
    weights.require(["encoder.weight", "encoder.bias", "W_dec", "b_dec"])
    transcode = bool(config.get("transcode", False))
    output = from_module(folder.name)
    point = into_module(folder.name) if transcode else output
    return checked(
        Dictionary(
            name=name,
            architecture="topk" if activation == "topk" else "groupmax",
            W_enc=weights.array("encoder.weight"),
            b_enc=weights.array("encoder.bias"),
            W_dec=weights.array("W_dec"),
            b_dec=weights.array("b_dec"),
            k=k,
            subtract_b_dec=not transcode,
            hook_point=point,
            metadata={"hookpoint": folder.name, **config},
            W_skip=weights.array("W_skip") if "W_skip" in weights else None,
            is_transcoder=transcode,
            output_point=output if transcode else None,
            file=folder / WEIGHTS,
        )
    )
