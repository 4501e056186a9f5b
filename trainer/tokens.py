"""Token numbers laid out in rows and batches: padded (one text a row) or packed (several).

In a packed row each text keeps its own positions and sees only itself, so that its activations are those it
would have alone. A text is never split over two rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """One text: its token numbers, and for each whether its activation is learnt."""

    ids: tuple[int, ...]
    keep: tuple[bool, ...]


Row = tuple[Tokens, ...]  # the texts of one row of a batch


@dataclass(frozen=True)
class TokenBatch:
    """One forward pass; every array is (row, position), padded on the right."""

    ids: np.ndarray  # int64, 0 at padding
    keep: np.ndarray  # bool, the activation is learnt
    segments: np.ndarray  # int64, number of the text within its row, −1 at padding
    positions: np.ndarray  # int64, place of the token within its text
    packed: bool

    @property
    def real(self) -> np.ndarray:
        """Where there is a token, (row, position) bool."""
        real: np.ndarray = self.segments >= 0
        return real

    def predicted(self) -> np.ndarray:
        """Tokens with a forerunner in the same text, (row, position) bool."""
        predicted: np.ndarray = self.real & (self.positions > 0)
        return predicted

    def visible(self) -> np.ndarray:
        """Which position sees which, (row, query, key) bool: causal, within one text; padding sees
        padding."""
        same = self.segments[:, :, None] == self.segments[:, None, :]
        visible: np.ndarray = same & np.tri(self.ids.shape[1], dtype=bool)[None]
        return visible


def within_norm(norms: np.ndarray, keep: np.ndarray, factor: float) -> np.ndarray:
    """Of the tokens in `keep` those of at most `factor` times their median norm; all arrays of one shape."""
    within: np.ndarray = keep & (norms <= factor * np.median(norms[keep])) if keep.any() else keep
    return within


def rows_of(texts: Sequence[Tokens], context: int, *, packed: bool) -> list[Row]:
    """The texts in order, one a row, or as many a row as fit into `context` tokens."""
    if not packed:
        return [(text,) for text in texts]
    rows: list[Row] = []
    row: list[Tokens] = []
    used = 0
    for text in texts:
        if row and used + len(text.ids) > context:
            rows.append(tuple(row))
            row, used = [], 0
        row.append(text)
        used += len(text.ids)
    return [*rows, tuple(row)] if row else rows


def shuffled_rows(texts: Sequence[Tokens], context: int, *, packed: bool, seed: Sequence[int]) -> list[Row]:
    """`rows_of` the texts in a random order, the same for the same seed."""
    order = np.random.default_rng(seed).permutation(len(texts))
    return rows_of([texts[place] for place in order], context, packed=packed)


def batch_rows(rows: Sequence[Row], size: int, *, packed: bool) -> Iterator[TokenBatch]:
    """Batches of `size` rows (the last may have fewer), each as wide as its longest row."""
    for start in range(0, len(rows), size):
        yield _batch(rows[start : start + size], packed)


def _batch(rows: Sequence[Row], packed: bool) -> TokenBatch:
    width = max(sum(len(text.ids) for text in row) for row in rows)
    ids = np.zeros((len(rows), width), np.int64)
    keep = np.zeros(ids.shape, bool)
    segments, positions = np.full(ids.shape, -1), np.zeros(ids.shape, np.int64)
    for number, row in enumerate(rows):
        start = 0
        for segment, text in enumerate(row):
            place = slice(start, start + len(text.ids))
            ids[number, place], keep[number, place] = text.ids, text.keep
            segments[number, place], positions[number, place] = segment, np.arange(len(text.ids))
            start += len(text.ids)
    return TokenBatch(ids, keep, segments, positions, packed)
