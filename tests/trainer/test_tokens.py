"""Rows and batches of tokens."""

import numpy as np

from trainer.tokens import Tokens, batch_rows, rows_of

TEXTS = [Tokens(tuple(range(1, n + 1)), (False,) + (True,) * (n - 1)) for n in (3, 5, 2, 4)]


def test_padded_rows_hold_one_text_each() -> None:
    (batch,) = batch_rows(rows_of(TEXTS, 8, packed=False), 4, packed=False)
    np.testing.assert_array_equal(batch.ids[0], [1, 2, 3, 0, 0])
    np.testing.assert_array_equal(batch.real.sum(1), [3, 5, 2, 4])
    np.testing.assert_array_equal(batch.keep.sum(1), [2, 4, 1, 3])
    assert not (batch.keep & ~batch.real).any()
    np.testing.assert_array_equal(batch.predicted().sum(1), [2, 4, 1, 3])


def test_packed_rows_hold_what_fits_and_split_nothing() -> None:
    rows = rows_of(TEXTS, 8, packed=True)
    assert [[len(text.ids) for text in row] for row in rows] == [[3, 5], [2, 4]]
    first, second = batch_rows(rows, 1, packed=True)
    np.testing.assert_array_equal(first.positions[0], [0, 1, 2, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(first.segments[0], [0, 0, 0, 1, 1, 1, 1, 1])
    assert second.ids.shape == (1, 6)
    visible = first.visible()[0]
    assert visible[2, 0] and visible[7, 3] and not visible[3, 2] and not visible[3, 4]
    assert rows_of([], 8, packed=True) == []
