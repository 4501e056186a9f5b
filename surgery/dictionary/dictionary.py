"""A trained sparse autoencoder as a code book: encoder, decoder, biases, and where in a model it belongs.

Every format is read to this one form, whose matrices stand as they are in the file (memory-mapped where that
can be) and whose rescalings are vectors beside them:

    x̂ = N(x) − b_dec, or N(x) where b_dec is not subtracted       N: nothing, layer norm, or a constant norm
    z = W_enc x̂
    p = gain ⊙ z + b_enc
    f = relu(p)                       standard
    f = [z + b_gate > 0] relu(p)      gated
    f = [p > threshold] relu(p)       jumprelu (and batchtopk, matryoshka, which are saved as such)
    f = the k largest of relu(p)      topk; groupmax: the largest of each of k equal groups
    decode(f) = (f ⊙ decoder_gain) W_dec + b_dec  [+ W_skip x], undone by N's inverse
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from surgery.checkpoint.hashes import sha256_file
from surgery.dictionary.activation import activate
from surgery.dictionary.normalization import Normalization, normalise
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint
from surgery.linalg.atoms import Atoms

Architecture = Literal["standard", "gated", "jumprelu", "topk", "groupmax"]

_ROWS = 4096
_CHECKED_BYTES = 1 << 26
"""Matrices above 64 MB are not read through when a dictionary is opened."""


@dataclass(frozen=True)
class Dictionary:
    """A dictionary in canonical form: float32, one feature a row, raw activations in and out.

    Attributes:
        W_enc: (n_features, d_in); may be a transposed view of a memory-mapped file.
        b_enc: (n_features,).
        W_dec: (n_features, d_model); rows need not have unit length, see `row_norms`.
        b_dec: (d_model,).
        k: active features per token of a topk or groupmax dictionary, else None.
        subtract_b_dec: whether the encoder sees x − b_dec.
        hook_point: what it reads, None where the file does not say or the place is none of `SITES`.
        gain: (n_features,) factor on W_enc x̂, None for 1.
        b_gate: (n_features,) of a gated dictionary.
        threshold: (n_features,) of a jumprelu dictionary.
        decoder_gain: (n_features,) factor on the codes before W_dec, None for 1.
        W_skip: (d_model, d_in) of a skip transcoder.
        normalization: what is done to each activation before the encoder and undone after the decoder.
        output_point: what a transcoder writes, None where its files do not say; of others None, since that is
            `hook_point`.
        format: the name of the reader it came through.
        file: the weights file.
        commit: of the Hub repository it came from.
    """

    name: str
    architecture: Architecture
    W_enc: np.ndarray
    b_enc: np.ndarray
    W_dec: np.ndarray
    b_dec: np.ndarray
    k: int | None = None
    subtract_b_dec: bool = False
    hook_point: HookPoint | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    gain: np.ndarray | None = None
    b_gate: np.ndarray | None = None
    threshold: np.ndarray | None = None
    decoder_gain: np.ndarray | None = None
    W_skip: np.ndarray | None = None
    normalization: Normalization = "none"
    is_transcoder: bool = False
    output_point: HookPoint | None = None
    format: str = ""
    file: Path | None = None
    commit: str | None = None

    @property
    def n_features(self) -> int:
        return int(self.W_dec.shape[0])

    @property
    def d_model(self) -> int:
        """Width of what it writes, which a direction must share."""
        return int(self.W_dec.shape[1])

    @property
    def d_in(self) -> int:
        """Width of what it reads."""
        return int(self.W_enc.shape[1])

    @property
    def writes(self) -> HookPoint | None:
        """Where its decoder rows stand: what a transcoder writes, and of any other what it reads."""
        return self.output_point if self.is_transcoder else self.hook_point

    @cached_property
    def sha256(self) -> str:
        """Of the weights file; reads all of it the first time."""
        return "" if self.file is None else sha256_file(self.file)

    @cached_property
    def row_norms(self) -> np.ndarray:
        """Length of each decoder row as the decoder uses it, (n_features,) float64; reads W_dec once.

        Raises:
            DictionaryError: W_dec holds values that are not finite.
        """
        norms = np.empty(self.n_features)
        for start in range(0, self.n_features, _ROWS):
            rows = self.W_dec[start : start + _ROWS]
            norms[start : start + _ROWS] = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
        if not np.isfinite(norms).all():
            raise DictionaryError(f"{self.name}: W_dec holds values that are not finite")
        return norms


def encode(
    dictionary: Dictionary, activations: np.ndarray, *, features: Sequence[int] | None = None
) -> np.ndarray:
    """Feature activations (n, n_features) of activations (n, d_in), in the activations' precision.

    Args:
        features: return only these columns; without competition between features only they are computed.
    """
    x, _, _ = normalise(dictionary.normalization, activations)
    if dictionary.subtract_b_dec:
        x = x - dictionary.b_dec.astype(x.dtype)
    wanted = slice(None) if features is None else np.asarray(features, dtype=np.int64)
    competing = dictionary.architecture in ("topk", "groupmax")
    rows = slice(None) if competing else wanted
    vectors = {
        name: value[rows].astype(x.dtype)
        for name in ("gain", "b_enc", "b_gate", "threshold")
        if (value := getattr(dictionary, name)) is not None
    }
    codes = activate(dictionary.architecture, x @ dictionary.W_enc[rows].T, vectors, k=dictionary.k)
    return codes[:, wanted] if competing else codes


def decode(dictionary: Dictionary, codes: np.ndarray) -> np.ndarray:
    """What codes (n, n_features) stand for, (n, d_model), without skip and before N is undone."""
    if dictionary.decoder_gain is not None:
        codes = codes * dictionary.decoder_gain.astype(codes.dtype)
    activations: np.ndarray = codes @ dictionary.W_dec + dictionary.b_dec.astype(codes.dtype)
    return activations


def reconstruct(
    dictionary: Dictionary, activations: np.ndarray, codes: np.ndarray | None = None
) -> np.ndarray:
    """The dictionary's whole output (n, d_model) for activations (n, d_in).

    Args:
        codes: their codes, where they are known already.
    """
    codes = encode(dictionary, activations) if codes is None else codes
    output = decode(dictionary, codes)
    _, scale, shift = normalise(dictionary.normalization, activations)
    if dictionary.normalization != "none":
        output = output * scale + shift
    if dictionary.W_skip is not None:
        output = output + activations @ dictionary.W_skip.T
    return output


def atoms_of(dictionary: Dictionary) -> Atoms:
    """The decoder rows with their lengths, for the sparse coders; nothing is copied."""
    return Atoms(dictionary.W_dec, dictionary.row_norms)


def unit_rows(dictionary: Dictionary, features: Sequence[int] | np.ndarray) -> np.ndarray:
    """The decoder rows of some features at unit length, (k, d_model) float64; a row of zeros stays zero."""
    return atoms_of(dictionary).unit(np.asarray(features, dtype=np.int64))


def checked(dictionary: Dictionary) -> Dictionary:
    """The dictionary itself, once its shapes agree and its values are finite.

    A matrix above 64 MB is not read here; its values are checked when they are first used.

    Raises:
        DictionaryError: naming the tensor that does not fit.
    """
    for tensor, shape in _shapes(dictionary).items():
        value = getattr(dictionary, tensor)
        if value is None:
            continue
        if value.shape != shape:
            raise DictionaryError(
                f"{dictionary.name}: {tensor} has shape {value.shape}, and the others ask for {shape}"
            )
        if value.nbytes <= _CHECKED_BYTES and not np.isfinite(value).all():
            raise DictionaryError(f"{dictionary.name}: {tensor} holds values that are not finite")
    _check_choice(dictionary)
    return dictionary


def _shapes(dictionary: Dictionary) -> dict[str, tuple[int, ...]]:
    if dictionary.W_dec.ndim != 2 or dictionary.W_enc.ndim != 2:
        raise DictionaryError(
            f"{dictionary.name}: W_enc has shape {dictionary.W_enc.shape} and W_dec"
            f" {dictionary.W_dec.shape}; one encoder and one decoder matrix are expected"
        )
    n_features, d_model = dictionary.W_dec.shape
    d_in = dictionary.W_enc.shape[1] if dictionary.is_transcoder else d_model
    vectors = ("b_enc", "gain", "b_gate", "threshold", "decoder_gain")
    return {
        "W_enc": (n_features, d_in),
        "W_dec": (n_features, d_model),
        **dict.fromkeys(vectors, (n_features,)),
        "b_dec": (d_model,),
        "W_skip": (d_model, d_in),
    }


def _check_choice(dictionary: Dictionary) -> None:
    k, architecture = dictionary.k, dictionary.architecture
    if architecture in ("topk", "groupmax") and (k is None or not 1 <= k <= dictionary.n_features):
        raise DictionaryError(
            f"{dictionary.name}: a {architecture} dictionary of {dictionary.n_features} features, but k is"
            f" {k}; give it as the fact k"
        )
    if architecture == "groupmax" and k is not None and dictionary.n_features % k:
        raise DictionaryError(
            f"{dictionary.name}: {dictionary.n_features} features do not fall into {k} equal groups"
        )
    if dictionary.is_transcoder and dictionary.subtract_b_dec and dictionary.d_in != dictionary.d_model:
        raise DictionaryError(
            f"{dictionary.name}: it would subtract b_dec ({dictionary.d_model}) from an input of"
            f" {dictionary.d_in} entries"
        )
