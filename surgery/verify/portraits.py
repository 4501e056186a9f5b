"""What a feature responds to and what it promotes, over many texts in one pass for all asked features.

Per feature: the windows of text where it is strongest with its activation at every token, how often it fires
and how strongly, and the logit lens of its decoder row: W_U N(d) − W_U N(0), centred over the vocabulary,
with N the model's final norm; a norm's bias does not speak for the feature.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surgery.dictionary.dictionary import Dictionary, encode, unit_rows
from surgery.errors import VerifyError
from surgery.model.language_model import LanguageModel
from surgery.verify.activations import observe
from surgery.verify.progress import Progress, silent

BINS = 24
TOKENS_SHOWN = 8
_EXCERPTS = 8
"""Windows of text that are kept of each feature."""
_AROUND = 16
_ROWS = 512
_WINDOWS_AT_ONCE = 64
_FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "final_norm")


@dataclass(frozen=True)
class Excerpt:
    """Tokens around a feature's strongest one, as text, with its activation at each."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    @property
    def strongest(self) -> float:
        return max(self.activations)


@dataclass(frozen=True)
class TokenScore:
    """A token of the vocabulary, and how far the feature moves its logit per unit of its row."""

    token: str
    score: float


@dataclass(frozen=True)
class Portrait:
    """One feature. `histogram` counts its activations above 0 in equal bins from 0 to `maximum`."""

    number: int
    density: float
    maximum: float
    mean: float
    """Over the tokens on which it fires."""
    histogram: tuple[int, ...]
    excerpts: tuple[Excerpt, ...]
    promoted: tuple[TokenScore, ...]
    suppressed: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Portraits:
    """All asked features, on how many tokens they were looked for."""

    tokens: int
    features: tuple[Portrait, ...]


@dataclass
class _Sitter:
    """One feature while the texts go by: its strongest windows, and every activation above 0."""

    best: list[tuple[float, int, tuple[float, ...], int]] = field(default_factory=list)
    active: list[np.ndarray] = field(default_factory=list)


def portray_features(
    model: LanguageModel,
    dictionary: Dictionary,
    features: Sequence[int],
    windows: Sequence[Sequence[int]],
    *,
    progress: Progress = silent,
) -> Portraits:
    """Look for features in token windows.

    Args:
        features: their numbers; every one is looked for in the same pass.

    Raises:
        VerifyError: a number is not one of the dictionary's, or it names no place to look at.
    """
    point = dictionary.hook_point
    if point is None or dictionary.d_in != model.d_model:
        raise VerifyError(
            f"{dictionary.name}: it names no hook point, or is as wide as another model; say what it reads"
            f" with --hook-point {'mlp_in' if dictionary.is_transcoder else 'resid_post'}.20"
        )
    wrong = [number for number in features if not 0 <= number < dictionary.n_features]
    if wrong:
        raise VerifyError(
            f"{dictionary.name} has features 0 to {dictionary.n_features - 1}, and not {wrong[0]}"
        )
    sitters = [_Sitter() for _ in features]
    tokens = 0
    for start in range(0, len(windows), _WINDOWS_AT_ONCE):
        part = windows[start : start + _WINDOWS_AT_ONCE]
        for seen in observe(model, part, [point]):
            for index, row in enumerate(seen.batch.rows):
                length = len(part[row])
                counted = seen.counted[index, -length:]
                codes = _codes(dictionary, seen.activations[0][index, -length:], features)
                codes *= counted[:, None]
                tokens += int(counted.sum())
                _watch(sitters, codes, start + row)
        progress(start + len(part), len(windows), "windows")
    lens = _lens(model, dictionary, features)
    return Portraits(
        tokens,
        tuple(
            _portrait(model, number, sitter, windows, tokens, scores)
            for number, sitter, scores in zip(features, sitters, lens, strict=True)
        ),
    )


def _codes(dictionary: Dictionary, rows: np.ndarray, features: Sequence[int]) -> np.ndarray:
    parts = [
        encode(dictionary, rows[at : at + _ROWS], features=features) for at in range(0, len(rows), _ROWS)
    ]
    return np.concatenate(parts)


def _watch(sitters: Sequence[_Sitter], codes: np.ndarray, window: int) -> None:
    for sitter, column in zip(sitters, codes.T, strict=True):
        at = int(column.argmax())
        if not column[at] > 0:
            continue
        sitter.active.append(column[column > 0])
        # The window's number breaks ties, so that the choice does not depend on how texts are batched.
        entry = (float(column[at]), -window, tuple(float(each) for each in column), at)
        if len(sitter.best) < _EXCERPTS:
            heapq.heappush(sitter.best, entry)
        else:
            heapq.heappushpop(sitter.best, entry)


def _portrait(
    model: LanguageModel,
    number: int,
    sitter: _Sitter,
    windows: Sequence[Sequence[int]],
    tokens: int,
    scores: np.ndarray,
) -> Portrait:
    active = np.concatenate(sitter.active) if sitter.active else np.empty(0, dtype=np.float32)
    maximum = float(active.max()) if len(active) else 0.0
    counts = np.histogram(active, bins=BINS, range=(0.0, maximum or 1.0))[0]
    order = np.argsort(-scores, kind="stable")
    excerpts = [
        _excerpt(model, windows[-place], values, at)
        for _, place, values, at in sorted(sitter.best, reverse=True)
    ]
    return Portrait(
        number=number,
        density=len(active) / max(1, tokens),
        maximum=maximum,
        mean=float(active.mean()) if len(active) else 0.0,
        histogram=tuple(int(each) for each in counts),
        excerpts=tuple(excerpts),
        promoted=_scored(model, scores, order[:TOKENS_SHOWN]),
        suppressed=_scored(model, scores, order[::-1][:TOKENS_SHOWN]),
    )


def _excerpt(model: LanguageModel, window: Sequence[int], values: Sequence[float], at: int) -> Excerpt:
    start, end = max(0, at - _AROUND), min(len(window), at + _AROUND + 1)
    texts = tuple(_text(model, token) for token in window[start:end])
    return Excerpt(texts, tuple(values[start:end]))


def _scored(model: LanguageModel, scores: np.ndarray, tokens: np.ndarray) -> tuple[TokenScore, ...]:
    return tuple(TokenScore(_text(model, int(token)), float(scores[token])) for token in tokens)


def _text(model: LanguageModel, token: int) -> str:
    return str(model.tokenizer.decode([token]))


def _lens(model: LanguageModel, dictionary: Dictionary, features: Sequence[int]) -> np.ndarray:
    """Logits (n, vocabulary) that each unit decoder row adds; zeros where there is no unembedding."""
    import torch

    head: Any = model.network.get_output_embeddings()
    if head is None or dictionary.d_model != model.d_model:
        return np.zeros((len(features), len(model.tokenizer)), dtype=np.float32)
    decoder = model.network.get_decoder()
    norm: Any = next((getattr(decoder, name) for name in _FINAL_NORMS if hasattr(decoder, name)), None)
    weight = head.weight
    rows = torch.from_numpy(unit_rows(dictionary, features)).to(weight) * dictionary.d_model**0.5
    with torch.inference_mode():
        if norm is not None:
            rows = norm(rows) - norm(torch.zeros_like(rows))
        scores: np.ndarray = (rows @ weight.T).float().cpu().numpy()
    # A logit means something beside the others only, so the mean over the vocabulary is taken out.
    scores -= scores.mean(axis=1, keepdims=True)
    return scores / np.float32(dictionary.d_model**0.5)
