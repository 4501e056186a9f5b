"""A dictionary of any format that `surgery` reads, as the SAELens folder that this trainer writes.

Every rescaling that stands beside the matrices goes into them, so that raw activations go in and come out:

    W_enc' = gain · W_enc, but for a gated dictionary, whose r_mag = log gain
    W_dec' = decoder_gain · W_dec

Codes and output stay the same up to float32. What SAELens has no words for is refused: groupmax, a transcoder
with TopK codes, a gated dictionary with a gain that is not positive.
"""

from pathlib import Path
from typing import Any

import numpy as np

from surgery.dictionary.dictionary import Dictionary
from surgery.dictionary.facts import NO_FACTS, Facts
from surgery.dictionary.source import open_dictionary
from surgery.errors import DictionaryError
from surgery.hook_point import to_transformer_lens
from trainer import __version__
from trainer.save import VERSION, staged, write_dictionary

NORMALIZATIONS = {"none": "none", "layer_norm": "layer_norm", "constant_norm": "constant_norm_rescale"}
Arrays = dict[str, np.ndarray]


def convert(
    source: str, out: Path, *, revision: str | None = None, path: str | None = None, facts: Facts = NO_FACTS,
    overwrite: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Write the dictionary `source` (named as in a recipe) to `out`; what its cfg.json says.

    Raises: SourceError, DictionaryError when it cannot be read or SAELens has no words for it; OutputError.
    """
    dictionary = open_dictionary(source, revision=revision, path=path, facts=facts)
    config, arrays = saelens_words(dictionary), saelens_arrays(dictionary)
    with staged(out, overwrite=overwrite) as staging:
        write_dictionary(staging, arrays, config)
    return config


def saelens_arrays(dictionary: Dictionary) -> Arrays:
    """The arrays named as in `trainer.parameters`, float32. Raises: DictionaryError."""
    encoder, decoder = dictionary.W_enc, dictionary.W_dec
    found: Arrays = {"decoder_bias": dictionary.b_dec}
    if dictionary.architecture == "gated":
        found |= _gated(dictionary)
    else:
        found["encoder_bias"] = dictionary.b_enc
        if dictionary.gain is not None:
            encoder = encoder * dictionary.gain[:, None]
    if dictionary.decoder_gain is not None:
        decoder = decoder * dictionary.decoder_gain[:, None]
    found |= {"encoder": encoder, "decoder": decoder}
    for name, array in (("threshold", dictionary.threshold), ("skip", dictionary.W_skip)):
        if array is not None:
            found[name] = array
    return {name: np.asarray(array, np.float32) for name, array in found.items()}


def _gated(dictionary: Dictionary) -> Arrays:
    gain = np.ones(dictionary.n_features) if dictionary.gain is None else dictionary.gain
    if dictionary.b_gate is None or not (gain > 0).all():
        raise DictionaryError(
            f"{dictionary.name}: gated, with gains that are not all positive: SAELens has no words for that"
        )
    return {"gate_bias": dictionary.b_gate, "magnitude_bias": dictionary.b_enc, "log_magnitude": np.log(gain)}


def saelens_words(dictionary: Dictionary) -> dict[str, Any]:
    """`cfg.json`. Raises: DictionaryError when SAELens has no such kind."""
    kind: str = dictionary.architecture
    if kind == "groupmax" or (dictionary.is_transcoder and kind in ("topk", "gated")):
        raise DictionaryError(f"{dictionary.name}: SAELens has no {_kind(dictionary)}; nothing was written")
    config: dict[str, Any] = {
        "architecture": _kind(dictionary),
        "d_in": dictionary.d_in,
        "d_sae": dictionary.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": dictionary.subtract_b_dec,
        "normalize_activations": NORMALIZATIONS[dictionary.normalization],
        "reshape_activations": "none",
    }
    if dictionary.is_transcoder:
        config["d_out"] = dictionary.d_model
    if kind == "topk":
        config |= {"k": dictionary.k, "rescale_acts_by_decoder_norm": False}
    return {**config, "metadata": _metadata(dictionary)}


def _kind(dictionary: Dictionary) -> str:
    if not dictionary.is_transcoder:
        return dictionary.architecture
    skip = "skip_transcoder" if dictionary.W_skip is not None else "transcoder"
    return skip if dictionary.architecture == "standard" else f"{dictionary.architecture}_{skip}"


def _metadata(dictionary: Dictionary) -> dict[str, Any]:
    points = {"hook_name": dictionary.hook_point, "hook_name_out": dictionary.output_point}
    named = {name: to_transformer_lens(point) for name, point in points.items() if point is not None}
    told = {
        name: value
        for name, value in dictionary.metadata.items()
        if isinstance(value, str | int | float | bool) or value is None
    }
    origin = {"converted_from": dictionary.name, "format": dictionary.format, "sha256": dictionary.sha256}
    return {**told, **named, **origin, "trainer": f"surgery-train {__version__}"} | VERSION
