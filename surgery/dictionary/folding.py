"""Rescalings of a dictionary, as vectors beside its matrices: nothing as large as a matrix is copied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from surgery.dictionary.dictionary import Dictionary
from surgery.linalg.units import nonzero


def scaled_input(dictionary: Dictionary, scale: float, output_scale: float | None = None) -> Dictionary:
    """The dictionary for raw activations of one that was trained on `scale` times them.

    f(x) of the result is f(scale · x) of the argument, and its output is divided by `output_scale`, or by
    `scale` where none is given.
    """
    out = scale if output_scale is None else output_scale
    ones = np.ones(dictionary.n_features)
    gain = ones if dictionary.gain is None else dictionary.gain
    decoder_gain = ones if dictionary.decoder_gain is None else dictionary.decoder_gain
    return replace(
        dictionary,
        gain=gain.astype(np.float64) * scale,
        decoder_gain=decoder_gain.astype(np.float64) / out,
        b_dec=dictionary.b_dec.astype(np.float64) / out,
        b_gate=None if dictionary.b_gate is None else dictionary.b_gate.astype(np.float64) / scale,
    )


def ranked_by_output(dictionary: Dictionary) -> Dictionary:
    """The dictionary whose codes are those of the argument times their decoder rows' lengths.

    Top-k over them is top-k by what a feature adds; the decoder divides the lengths out again.
    """
    norms = nonzero(dictionary.row_norms)
    return replace(dictionary, gain=norms, b_enc=dictionary.b_enc * norms, decoder_gain=1.0 / norms)
