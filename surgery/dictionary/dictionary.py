"""A trained sparse autoencoder as a code book: encoder, decoder, biases, and where in a model it belongs.

x̂ = x − b_dec if the dictionary subtracts its decoder bias, else x
f(x) = relu(W_enc x̂ + b_enc)            standard
f(x) = the k largest of that            topk
decode(f) = f W_dec + b_dec
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint

Architecture = Literal["standard", "topk"]


@dataclass(frozen=True)
class Dictionary:
    """A dictionary in canonical form: float32, one feature a row, raw activations in and out.

    Attributes:
        W_enc: (n_features, d_model).
        b_enc: (n_features,).
        W_dec: (n_features, d_model); rows need not have unit length, see `unit_atoms`.
        b_dec: (d_model,).
        k: active features per token of a topk dictionary, else None.
        subtract_b_dec: whether the encoder sees x − b_dec.
        hook_point: what it was trained on, None where the file does not say.
        sha256: of the weights file.
    """

    name: str
    architecture: Architecture
    W_enc: np.ndarray
    b_enc: np.ndarray
    W_dec: np.ndarray
    b_dec: np.ndarray
    k: int | None
    subtract_b_dec: bool
    hook_point: HookPoint | None
    sha256: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_features(self) -> int:
        return int(self.W_dec.shape[0])

    @property
    def d_model(self) -> int:
        return int(self.W_dec.shape[1])


def encode(dictionary: Dictionary, activations: np.ndarray) -> np.ndarray:
    """Feature activations (n, n_features) of activations (n, d_model), float32."""
    centred = activations - dictionary.b_dec if dictionary.subtract_b_dec else activations
    codes: np.ndarray = np.maximum(centred @ dictionary.W_enc.T + dictionary.b_enc, 0.0)
    if dictionary.k is not None and dictionary.k < dictionary.n_features:
        silent = np.argpartition(codes, -dictionary.k, axis=1)[:, : -dictionary.k]
        np.put_along_axis(codes, silent, 0.0, axis=1)
    return codes


def decode(dictionary: Dictionary, codes: np.ndarray) -> np.ndarray:
    """Activations (n, d_model) of feature activations (n, n_features), float32."""
    activations: np.ndarray = codes @ dictionary.W_dec + dictionary.b_dec
    return activations


def unit_atoms(dictionary: Dictionary) -> np.ndarray:
    """Decoder rows at unit length, (n_features, d_model) float32; a row of zeros stays zero."""
    lengths = np.linalg.norm(dictionary.W_dec, axis=1, keepdims=True)
    atoms: np.ndarray = dictionary.W_dec / np.where(lengths > 0, lengths, 1.0).astype(np.float32)
    return atoms


def checked(dictionary: Dictionary) -> Dictionary:
    """The dictionary itself, once its shapes agree and its values are finite.

    Raises:
        DictionaryError: naming the tensor that does not fit.
    """
    n_features, d_model = dictionary.W_dec.shape
    wanted = {"W_enc": (n_features, d_model), "b_enc": (n_features,), "b_dec": (d_model,)}
    for tensor, shape in wanted.items():
        found = getattr(dictionary, tensor).shape
        if found != shape:
            raise DictionaryError(
                f"{dictionary.name}: {tensor} has shape {found}, and W_dec asks for {shape}"
            )
    for tensor in (*wanted, "W_dec"):
        if not np.isfinite(getattr(dictionary, tensor)).all():
            raise DictionaryError(f"{dictionary.name}: {tensor} holds values that are not finite")
    return dictionary
